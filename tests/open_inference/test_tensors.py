import base64
from typing import Any

import numpy as np
import pytest

from brainmri.errors import InvalidInput, MalformedRequest, RequestTooLarge
from brainmri.open_inference.models import TensorSpec
from brainmri.open_inference.tensors import Tensor, check_tensor, files, pack_elements, pixels

IMAGES = TensorSpec("image", "UINT8", (-1, 2, 3, 3))
FILES = TensorSpec("image", "BYTES", (-1, 1))
PIXELS = np.arange(36, dtype=np.uint8).reshape(2, 2, 3, 3)


def tensor(**content: Any) -> Tensor:
    return Tensor("image", "UINT8", (2, 2, 3, 3), **content)


def test_raw_bytes_become_an_array_without_a_copy() -> None:
    raw = PIXELS.tobytes()
    array = pixels(tensor(raw=memoryview(raw)))
    assert np.array_equal(array, PIXELS)
    assert array.__array_interface__["data"][0] == np.frombuffer(raw, np.uint8).__array_interface__["data"][0]


def test_numbers_become_the_same_array() -> None:
    assert np.array_equal(pixels(tensor(values=PIXELS.ravel().tolist())), PIXELS)


def test_many_flat_numbers_keep_their_order_across_pieces() -> None:
    values = (np.arange(200_000) % 251).astype(np.uint8)
    array = pixels(Tensor("image", "UINT8", (1, 200_000), values=values.tolist()))
    assert np.array_equal(array.ravel(), values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([256] * 36, "integers from 0 to 255"),
        ([-1] * 36, "integers from 0 to 255"),
        ([0.5] * 36, "integers from 0 to 255"),
        (["1"] * 36, "integers from 0 to 255"),
        ([None] * 36, "integers from 0 to 255"),
        ([1] * 35, "35 values; its shape [2, 2, 3, 3] needs 36"),
        ([], "0 values"),
    ],
)
def test_other_numbers_are_refused(values: list[Any], sentence: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        pixels(tensor(values=values))
    assert sentence in caught.value.message


def test_raw_bytes_of_another_size_are_refused() -> None:
    with pytest.raises(MalformedRequest, match="holds 35 values"):
        pixels(tensor(raw=bytes(35)))


@pytest.mark.parametrize(
    ("given", "spec", "expected"),
    [
        (("pixels", "UINT8", (1, 2, 3, 3)), IMAGES, MalformedRequest),
        (("image", "FP32", (1, 2, 3, 3)), IMAGES, MalformedRequest),
        (("image", "UINT8", (1, 3, 2, 3)), IMAGES, MalformedRequest),
        (("image", "UINT8", (2, 3, 3)), IMAGES, MalformedRequest),
        (("image", "UINT8", ()), IMAGES, MalformedRequest),
        (("image", "UINT8", (0, 2, 3, 3)), IMAGES, MalformedRequest),
        (("image", "UINT8", (-1, 2, 3, 3)), IMAGES, MalformedRequest),
        (("image", "UINT8", (5, 2, 3, 3)), IMAGES, RequestTooLarge),
        (("image", "BYTES", (1, 2)), FILES, MalformedRequest),
        (("image", "BYTES", (5, 1)), FILES, RequestTooLarge),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    given: tuple[str, str, tuple[int, ...]], spec: TensorSpec, expected: type[InvalidInput]
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_tensor(Tensor(*given, raw=b""), spec, max_images=4)
    assert type(caught.value) is expected


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_files_come_as_a_column_or_a_list(shape: tuple[int, ...]) -> None:
    given = Tensor("image", "BYTES", shape, raw=pack_elements([b"one", b""]))
    assert check_tensor(given, FILES, 4) == 2
    assert files(given) == [b"one", b""]


@pytest.mark.parametrize("nested", [False, True])
def test_files_in_json_are_base64(nested: bool) -> None:
    texts: list[Any] = [base64.b64encode(data).decode() for data in (b"\x89one", b"\xfftwo")]
    given = Tensor("image", "BYTES", (2, 1), texts=[[text] for text in texts] if nested else texts)
    assert files(given) == [b"\x89one", b"\xfftwo"]


@pytest.mark.parametrize("text", ["http://127.0.0.1/a.png", "not base64!", "abc", 7, None])
def test_other_elements_in_json_are_refused_by_number(text: object) -> None:
    with pytest.raises(MalformedRequest, match="Element 1 of the input is not base64"):
        files(Tensor("image", "BYTES", (2, 1), texts=["aGk=", text]))


@pytest.mark.parametrize("texts", [[["aGk="], 5], [["aGk="], [["aGk="]]], ["aGk=", {}]])
def test_lists_and_others_side_by_side_are_refused_by_number(texts: list[Any]) -> None:
    with pytest.raises(MalformedRequest, match="Element 1 of the input is not base64"):
        files(Tensor("image", "BYTES", (2, 1), texts=texts))


def test_a_text_beside_a_list_is_one_element() -> None:
    assert files(Tensor("image", "BYTES", (2, 1), texts=[["aGk="], "aGk="])) == [b"hi", b"hi"]


@pytest.mark.parametrize("texts", [["x" * 50, "x" * 20], [["x" * 50], ["x" * 20]], [["x" * 50, "x" * 20]]])
def test_the_cost_of_texts_is_the_same_however_they_are_nested(texts: list[Any]) -> None:
    assert Tensor("image", "BYTES", (2, 1), texts=texts).cost == 70


def test_elements_must_be_as_many_as_the_shape_says() -> None:
    with pytest.raises(MalformedRequest, match=r"holds 1 elements; its shape \[2, 1\] needs 2"):
        files(Tensor("image", "BYTES", (2, 1), elements=[b"one"]))
