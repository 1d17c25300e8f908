"""The JSON body of KServe's protocol V1, read piece by piece.

`{"instances": [I, ...]}`, where an instance I is `{"b64": "..."}` (an encoded image), a nested list `[299][299][3]` of
whole numbers from 0 to 255, or either of them as `{"image": ...}`. A general JSON parser would build the whole tree
first: a body of 64 MB can become more than a gigabyte of lists, and the interpreter does nothing else meanwhile. This
reader never holds more than one row of pixels as lists.
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.blocking import Stop
from brainmri.errors import InvalidInput, MalformedRequest, RequestTooLarge
from brainmri.http.json_reader import JsonReader
from brainmri.web.answers import located
from brainmri.web.form import file_too_large

Instance = bytes | NDArray[np.uint8]
"""An encoded image, or a tensor, uint8 `[299, 299, 3]`."""

_ROW_BYTES = 32 * 2**10  # one row as a client prints it with four characters of space around each number
_NAME_BYTES = 256
_BASE64_PIECE = 2**20  # bytes; decoding holds the interpreter, so it is done in pieces


@dataclass(frozen=True)
class InstanceLimits:
    """What a body may hold.

    Attributes:
        max_instances: Most instances.
        max_image_bytes: Largest encoded image, in bytes.
        side: Rows and columns of a tensor, in pixels.
    """

    max_instances: int
    max_image_bytes: int
    side: int


def read_instances(body: bytes, limits: InstanceLimits, stop: Stop) -> list[Instance]:
    """Reads the body; call it in a thread.

    Args:
        body: The JSON, UTF-8.
        limits: What it may hold.
        stop: Ends the reading.

    Returns:
        At least one instance.

    Raises:
        MalformedRequest: Not JSON of this form; says where.
        ImageTooLarge: An encoded image exceeds the limit.
        RequestTooLarge: Too many instances.
        Stopped: Nobody waits for it.
    """
    reader = JsonReader(body, stop)
    instances: list[Instance] = []

    def take_instance() -> None:
        if len(instances) == limits.max_instances:
            raise RequestTooLarge(
                f"The request has more than {limits.max_instances} instances. Send them in several requests.",
                limit=f"{limits.max_instances} instances",
            )
        try:
            instances.append(_instance(reader, limits))
        except InvalidInput as error:
            raise located(error, f"Instance {len(instances)}") from error

    def take_member(name: str) -> None:
        if name == "instances":
            reader.items(take_instance)
        elif name == "signature_name":
            reader.text(_NAME_BYTES)
        else:
            raise reader.refused(f"an unknown field {name[:40]!r}", "'instances' alone")

    reader.members(take_member)
    reader.end()
    if not instances:
        raise MalformedRequest('The body holds no instance. Send {"instances": [{"b64": "..."}]}.')
    return instances


def _instance(reader: JsonReader, limits: InstanceLimits, *, named: bool = False) -> Instance:
    if reader.peek() == b"[":
        return _tensor(reader, limits.side)
    found: list[Instance] = []

    def take_member(name: str) -> None:
        if name == "b64":
            found.append(_image(reader, limits.max_image_bytes))
        elif name == "image" and not named:
            found.append(_instance(reader, limits, named=True))
        else:
            raise reader.refused(f"an unexpected field {name[:40]!r}", '{"b64": "..."} or {"image": {"b64": "..."}}')

    reader.members(take_member)
    if len(found) != 1:
        raise reader.refused(f"{len(found)} images in one instance", "exactly one")
    return found[0]


def _image(reader: JsonReader, max_bytes: int) -> bytes:
    # Three bytes are four characters; a slash may be escaped as two.
    text = reader.text(max_bytes // 3 * 8 + _NAME_BYTES)
    data = bytearray()
    try:
        for piece in _unescaped(text):
            data += binascii.a2b_base64(piece, strict_mode=True)
            if len(data) > max_bytes:
                raise file_too_large(len(data), max_bytes)
    except ValueError as error:
        raise reader.refused(
            "text that is not base64", "the standard alphabet with padding and no line breaks"
        ) from error
    return bytes(data)


def _unescaped(text: memoryview) -> Iterator[bytes]:
    """Yields base64 in pieces that can be decoded by themselves; in JSON a slash may be escaped."""
    held = rest = b""
    for start in range(0, len(text), _BASE64_PIECE):
        piece = held + bytes(text[start : start + _BASE64_PIECE])
        is_last = start + _BASE64_PIECE >= len(text)
        held = b"\\" if piece.endswith(b"\\") and not is_last else b""
        piece = rest + piece.removesuffix(held).replace(b"\\/", b"/")
        whole = len(piece) if is_last else len(piece) // 4 * 4
        # Padding ends the text.
        if b"=" in (piece[:-2] if is_last else piece):
            raise binascii.Error
        rest = piece[whole:]
        yield piece[:whole]


def _tensor(reader: JsonReader, side: int) -> NDArray[np.uint8]:
    tensor = np.empty((side, side, 3), np.uint8)
    expected = f"whole numbers from 0 to 255 of shape [{side}][{side}][3]"
    count = 0

    def take_row() -> None:
        nonlocal count
        try:
            row = np.array(reader.numbers(_ROW_BYTES, expected))
        except ValueError:  # rows of different lengths
            row = np.empty(0)
        if count == side or row.shape != (side, 3):
            raise reader.refused("a tensor of another shape", expected)
        if row.max() > 255:
            raise reader.refused("a value above 255", expected)
        tensor[count] = row
        count += 1

    reader.items(take_row)
    if count != side:
        raise reader.refused(f"a tensor of {count} rows", expected)
    return tensor
