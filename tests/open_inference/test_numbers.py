import json
import time
from typing import Any

import numpy as np
import pytest

from brainmri.blocking import Stop, Stopped
from brainmri.errors import MalformedRequest
from brainmri.open_inference.rest_body import Numbers, take_numbers


def taken(document: object) -> tuple[Any, dict[str, Numbers]]:
    """Returns the parsed rest of a document, and its numbers."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    rest, numbers = take_numbers(text, "token", Stop())
    return json.loads(rest), numbers


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 1), (1, 2, 3, 1)])
def test_integers_flat_or_nested_are_packed_in_order(shape: tuple[int, ...], indent: int | None) -> None:
    data = np.array([0, 255, 7, 10, 99, 100], np.uint8).reshape(shape)
    document = {"inputs": [{"name": "a", "data": data.tolist(), "shape": list(shape)}], "id": "1"}
    rest, numbers = taken(json.dumps(document, indent=indent).encode())
    assert rest == {"inputs": [{"name": "a", "data": "token0", "shape": list(shape)}], "id": "1"}
    assert numbers["token0"].packed == data.tobytes()
    assert numbers["token0"].is_flat_or_nested_as(shape)


def test_several_arrays_keep_their_places() -> None:
    rest, numbers = taken({"a": {"data": [1]}, "b": {"data": ["x"]}, "c": {"data": [2, 3]}})
    assert rest == {"a": {"data": "token0"}, "b": {"data": ["x"]}, "c": {"data": "token1"}}
    assert [number.packed for number in numbers.values()] == [b"\x01", b"\x02\x03"]


def test_pieces_do_not_cut_numbers() -> None:
    data = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)
    for values in (data, data.reshape(100, 1000, 3)):
        (numbers,) = taken({"data": values.tolist()})[1].values()
        assert numbers.packed == data.tobytes()


@pytest.mark.parametrize(
    "document",
    [
        {"data": ["1, 2"]},
        {"data": "[1, 2]"},
        {"data": [0.5, 1]},
        {"data": [1, 0.5]},
        {"data": [[1], [0.5]]},
        {"data": [-1]},
        {"data": [1e2]},
        {"data": [True]},
        {"data": [None]},
        {"data": [{"data": 1}]},
        {"datum": [1, 2]},
        {"text": 'a "data": [1, 2] in a text'},
        {"text": '"data"', "data": 5},
    ],
    ids=json.dumps,
)
def test_everything_else_stays(document: dict[str, Any]) -> None:
    assert taken(document) == (document, {})


def test_an_empty_array_holds_no_numbers() -> None:
    assert taken({"data": []})[1] == {"token0": Numbers(b"", 1)}


@pytest.mark.parametrize(
    "array", [b"[256]", b"[1,,2]", b"[1,]", b"[,1]", b"[1 2]", b"[[1][2]]", b"[1,[],2]", b"[99999999]"]
)
def test_what_is_no_small_integer_is_refused(array: bytes) -> None:
    with pytest.raises(MalformedRequest, match="integers from 0 to 255"):
        take_numbers(b'{"data": ' + array + b"}", "token", Stop())


@pytest.mark.parametrize("document", [b'{"data": [1, 2', b'{"data": [[1, 2]', b'{"data": 1]', b'{"data":', b'"data"'])
def test_a_document_that_ends_early_is_left_to_the_parser(document: bytes) -> None:
    assert take_numbers(document, "token", Stop()) == (document, {})


def test_numbers_nested_in_another_order_than_their_shape_are_told_apart() -> None:
    channels_first = np.zeros((1, 3, 5, 5), np.uint8).tolist()
    (numbers,) = taken({"data": channels_first})[1].values()
    assert numbers.is_flat_or_nested_as((1, 3, 5, 5))
    assert not numbers.is_flat_or_nested_as((1, 5, 5, 3))


def test_more_arrays_than_any_request_needs_are_refused_before_they_are_kept() -> None:
    begun = time.thread_time()
    with pytest.raises(MalformedRequest) as caught:
        take_numbers(b'"data":[1],' * 1_000_000, "token", Stop())
    assert caught.value.limit == "64 arrays"
    assert time.thread_time() - begun < 0.5


@pytest.mark.parametrize("document", [b'"data":[1],', b'"data":[' + b"1," * 100_000 + b"1]", b'"data":"x"'])
def test_reading_ends_when_nobody_waits_for_it(document: bytes) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        take_numbers(document, "token", stop)
