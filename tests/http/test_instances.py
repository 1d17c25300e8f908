import base64
import json
import time
from typing import Any

import numpy as np
import pytest

from brainmri.blocking import Stop, Stopped
from brainmri.errors import ImageTooLarge, MalformedRequest, RequestTooLarge
from brainmri.http.instances import InstanceLimits, read_instances
from brainmri.imaging import SIDE

MAX_BYTES = 3_000_000


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def tensor(seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def read(text: str | bytes, most: int = 8) -> list[Any]:
    limits = InstanceLimits(most, MAX_BYTES, SIDE)
    return list(read_instances(text if isinstance(text, bytes) else text.encode(), limits, Stop()))


@pytest.mark.parametrize(
    "text",
    [
        '{"instances":[{"b64":"YWJj"},{"b64":"ZGU="}]}',
        ' {\r\n\t"instances" : [ {"image" : { "b64" : "YWJj" } } , {"b64":"ZGU="} ] } \n',
        '{"signature_name": "serving_default", "instances": [{"b64": "YWJj"}, {"b64": "ZGU="}]}',
    ],
)
def test_encoded_images_come_out_in_order(text: str) -> None:
    assert read(text) == [b"abc", b"de"]


@pytest.mark.parametrize("layout", [{}, {"separators": (" ,\n  ", ": ")}, {"separators": (",", ":")}])
@pytest.mark.parametrize("named", [True, False])
def test_nested_lists_become_the_tensor_that_json_would_give(layout: dict[str, Any], named: bool) -> None:
    values = [tensor(1), tensor(2)]
    instances = [{"image": value.tolist()} if named else value.tolist() for value in values]
    for value, result in zip(values, read(json.dumps({"instances": instances}, **layout)), strict=True):
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, value)


def test_large_images_survive_the_pieces_of_the_decoder() -> None:
    # Around the size of a piece, 1 MiB of text or 786,432 bytes; with and without padding.
    for size in (786_431, 786_432, 786_433, 2_000_000):
        data = np.random.default_rng(size).bytes(size)
        assert read(json.dumps({"instances": [{"b64": b64(data)}]})) == [data]


def test_slashes_that_json_escapes_are_slashes() -> None:
    data = b"\xff" * 30
    assert read('{"instances":[{"b64":"' + b64(data).replace("/", "\\/") + '"}]}') == [data]


def test_slashes_are_slashes_wherever_the_decoder_cuts() -> None:
    for before in range(5):
        data = bytes(before) + b"\xff" * 900_000
        assert read('{"instances":[{"b64":"' + b64(data).replace("/", "\\/") + '"}]}') == [data]


@pytest.mark.parametrize("repeated", ['"instances":[],', '"signature_name":"",', '"instances":[{"b64":"","b64":"",'])
def test_a_repeated_field_is_refused_at_its_second_place_and_not_after_all_of_them(repeated: str) -> None:
    text = "{" + repeated * 500_000
    begun = time.thread_time()
    with pytest.raises(MalformedRequest, match=r"twice before byte [0-9]{2}\."):
        read(text)
    assert time.thread_time() - begun < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "{" + " " * 1_000_000,
        '{"instances":[' + '{"b64":"YWJj"},' * 3,
        json.dumps({"instances": [np.zeros((SIDE, SIDE, 3), int).tolist()]}),
    ],
)
def test_reading_ends_when_nobody_waits_for_it(text: str) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        read_instances(text.encode(), InstanceLimits(8, MAX_BYTES, SIDE), stop)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"instances":[]}',
        '{"instances":{}}',
        '{"instances":["YWJj"]}',
        '{"instances":[{}]}',
        '{"instances":[{"b64":"YWJj","image":{"b64":"YWJj"}}]}',
        '{"instances":[{"url":"http://169.254.169.254/"}]}',
        '{"instances":[{"image":"http://169.254.169.254/"}]}',
        '{"instances":[{"b64":"YWJj"}],"inputs":[]}',
        '{"instances":[{"b64":"YWJj"}]',
        '{"instances":[{"b64":"YWJj"}]} x',
        '{"instances":[{"b64":"YWJj"}]}{"instances":[{"b64":"YWJj"}]}',
        '{"instances":[{"b64":"YWJj"},]}',
        '{"instances":[{"b64":"YWJj"} {"b64":"YWJj"}]}',
        '{"instances":[{"b64":"YWJj',
        '{"instances":[{"b64":null}]}',
        b"\xff\xfe{}",
        b'{"\xff":1}',
        '{"instances":[],"instances":[{"b64":"YWJj"}]}',
        '{"signature_name":"","signature_name":"","instances":[{"b64":"YWJj"}]}',
        '{"instances":[{"b64":"YWJj","b64":"YWJj"}]}',
        '{"instances":[{"image":{"b64":"YWJj"},"image":{"b64":"YWJj"}}]}',
        '{"instances":[{"image":{"b64":"YWJj","b64":"YWJj"}}]}',
        '{"instances":' + "[" * 100_000,
        '{"instances":[' + '{"image":' * 100_000,
    ],
)
def test_another_body_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        read(text)
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize("bad", ["YWJ", "YW Jj", "YWJj\\n", "YW-_", "Y=Jj", "YWJj====", "=YWJ", "\\u0059WJj", "é" * 4])
def test_base64_is_taken_strictly(bad: str) -> None:
    with pytest.raises(MalformedRequest, match="Instance 1: The body holds text that is not base64") as caught:
        read('{"instances":[{"b64":"YWJj"},{"b64":"' + bad + '"}]}')
    cause = caught.value.__cause__
    assert isinstance(cause, MalformedRequest)
    assert caught.value.message == f"Instance 1: {cause.message}"


def test_padding_between_two_pieces_is_refused() -> None:
    text = b64(b"x" * 786_431) + b64(b"y" * 3)  # the first piece ends with its padding
    with pytest.raises(MalformedRequest, match="not base64"):
        read('{"instances":[{"b64":"' + text + '"}]}')


def changed(row: int, column: int, channel: int, value: object) -> list[Any]:
    values: list[Any] = tensor().tolist()
    values[row][column][channel] = value
    return values


@pytest.mark.parametrize("value", [256, 2**63, 2**70, -1, 1.0, True, None, "1", [1], []])
def test_another_pixel_is_refused(value: object) -> None:
    with pytest.raises(MalformedRequest, match="Send whole numbers from 0 to 255"):
        read(json.dumps({"instances": [changed(298, 298, 2, value)]}))


@pytest.mark.parametrize("shape", [(298, 299, 3), (300, 299, 3), (299, 298, 3), (299, 299, 1), (299, 299), (1,), (0,)])
def test_a_tensor_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedRequest, match=r"of shape \[299\]\[299\]\[3\]"):
        read(json.dumps({"instances": [np.zeros(shape, int).tolist()]}))


def test_too_many_instances_and_too_large_images_are_refused_with_the_limit() -> None:
    with pytest.raises(RequestTooLarge) as many:
        read('{"instances":[' + ",".join(['{"b64":"YWJj"}'] * 9) + "]}")
    assert many.value.limit == "8 instances"
    for size in (MAX_BYTES + 1, MAX_BYTES + 100, MAX_BYTES * 2):
        with pytest.raises(ImageTooLarge) as large:
            read(json.dumps({"instances": [{"b64": b64(b"x" * size)}]}))
        assert large.value.limit == f"{MAX_BYTES} bytes"
    assert len(read(json.dumps({"instances": [{"b64": b64(b"x" * MAX_BYTES)}]}))[0]) == MAX_BYTES
