import pytest

from brainmri.errors import MalformedRequest
from brainmri.open_inference.tensors import pack_elements, split_tail, unpack_elements


def test_elements_are_written_as_the_protocol_says() -> None:
    assert pack_elements([b"ab", b"", b"c"]) == b"\x02\0\0\0ab" + b"\0\0\0\0" + b"\x01\0\0\0c"


def test_elements_come_back() -> None:
    elements = [b"ab", b"", b"\0" * 300]
    assert unpack_elements(pack_elements(elements), 3) == elements
    assert unpack_elements(memoryview(pack_elements(elements)), 3) == elements
    assert unpack_elements(b"", 0) == []


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\x02\0\0\0ab", 2),
        (b"\x02\0\0\0ab", 0),
        (b"\x02\0\0\0abc", 1),
        (b"\x03\0\0\0ab", 1),
        (b"\xff\xff\xff\xffab", 1),
        (b"\x02\0\0", 1),
        (b"", 1),
        (bytes(4_000_000), 1),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(data: bytes, count: int) -> None:
    with pytest.raises(MalformedRequest, match=f"do not hold the {count} elements"):
        unpack_elements(data, count)


def test_a_tail_is_cut_in_order_without_a_copy() -> None:
    tail = memoryview(b"aabbb")
    parts = split_tail(tail, [2, 0, 3])
    assert [bytes(part) for part in parts] == [b"aa", b"", b"bbb"]
    assert all(part.obj is tail.obj for part in parts)


@pytest.mark.parametrize("sizes", [[2, 2], [2, 4], []])
def test_a_tail_of_another_size_is_refused(sizes: list[int]) -> None:
    with pytest.raises(MalformedRequest, match=f"5 bytes follow the JSON, .* add up to {sum(sizes)}"):
        split_tail(memoryview(b"aabbb"), sizes)
