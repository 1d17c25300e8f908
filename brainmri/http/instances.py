"""The JSON body of KServe's protocol V1, read piece by piece.

`{"instances": [I, ...]}`, where an instance I is `{"b64": "..."}` (an encoded image), a nested list `[299][299][3]` of
whole numbers from 0 to 255, or either of them as `{"image": ...}`. A general JSON parser would build the whole tree
first: a body of 64 MB can become more than a gigabyte of lists, and the interpreter does nothing else meanwhile. This
reader never holds more than one row of pixels as lists.
"""

import binascii
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.blocking import Stop
from brainmri.errors import InvalidInput, MalformedRequest, RequestTooLarge
from brainmri.web.failures import located
from brainmri.web.form import file_too_large

_SPACE = re.compile(rb"[ \t\r\n]+")
_SPACES_AT_ONCE = 2**16
"""A search holds the interpreter; the event loop gets it in between."""

_NUMBERS = re.compile(rb"[\[\],0-9 \t\r\n]*")
_NAME_BYTES = 256
_DECODER = json.JSONDecoder()

Instance = bytes | NDArray[np.uint8]
"""An encoded image, or a tensor, uint8 `[299, 299, 3]`."""

_ROW_BYTES = 32 * 2**10  # one row as a client prints it with four characters of space around each number
_BASE64_PIECE = 2**20  # bytes; decoding holds the interpreter, so it is done in pieces


class JsonReader:
    """A cursor over JSON; each method consumes what it names, or raises `MalformedRequest`.

    Args:
        body: The JSON, UTF-8; it is never decoded as a whole, which would hold the interpreter.
        stop: Ends the reading; every method that goes on for long raises `Stopped` then.
    """

    def __init__(self, body: bytes, stop: Stop) -> None:
        self._body = body
        self._view = memoryview(body)
        self._stop = stop
        self._at = 0

    def refused(self, what: str, instead: str) -> MalformedRequest:
        """Returns the error that says what was found, where, and what to send instead."""
        return MalformedRequest(f"The body holds {what} before byte {self._at}. Send {instead}.")

    def peek(self) -> bytes:
        """Returns the next byte that is not a space, without consuming it; empty at the end."""
        while space := _SPACE.match(self._body, self._at, self._at + _SPACES_AT_ONCE):
            self._at = space.end()
            self._stop.check()
        return self._body[self._at : self._at + 1]

    def items(self, take: Callable[[], None]) -> None:
        """Consumes an array; `take` consumes each item."""
        self._enclosed(b"[", b"]", take)

    def members(self, take: Callable[[str], None]) -> None:
        """Consumes an object of distinct names; `take` gets each name and consumes its value."""
        names: set[str] = set()

        def take_member() -> None:
            try:
                name = str(self.text(_NAME_BYTES), "utf-8")
            except UnicodeDecodeError as error:
                raise self.refused("text that is not UTF-8", "UTF-8") from error
            if name in names:
                raise self.refused(f"the field {name[:40]!r} twice", "each field once")
            names.add(name)
            self._expect(b":")
            take(name)

        self._enclosed(b"{", b"}", take_member)

    def text(self, most: int) -> memoryview:
        """Consumes a string of at most `most` bytes; escapes stay as they are, and nothing is copied."""
        self._expect(b'"')
        end = self._body.find(b'"', self._at, self._at + most + 1)
        if end < 0:
            raise self.refused("text that does not end or is too long", f"at most {most} bytes")
        text, self._at = self._view[self._at : end], end + 1
        return text

    def numbers(self, most: int, instead: str) -> object:
        """Consumes nested arrays of whole, unsigned numbers, in at most `most` bytes.

        Args:
            most: Largest length.
            instead: What to send, for the error.
        """
        self.peek()
        try:
            # Latin-1: what is not a number is refused below, and a byte stays a character.
            value, length = _DECODER.raw_decode(self._body[self._at : self._at + most].decode("latin-1"))
        except (ValueError, RecursionError) as error:
            raise self.refused(f"no row of numbers in {most} bytes", instead) from error
        if not _NUMBERS.fullmatch(self._body, self._at, self._at + length):
            raise self.refused("something other than whole numbers", instead)
        self._at += length
        return value

    def end(self) -> None:
        """Refuses anything but spaces."""
        if self.peek():
            raise self.refused("more than one value", "one JSON object")

    def _enclosed(self, first: bytes, last: bytes, take: Callable[[], None]) -> None:
        self._expect(first)
        if self.peek() == last:
            self._at += 1
            return
        while True:
            self._stop.check()
            take()
            if self.peek() == last:
                self._at += 1
                return
            self._expect(b",")

    def _expect(self, sign: bytes) -> None:
        if (found := self.peek()) != sign:
            shown = ascii(found.decode("latin-1"))
            raise self.refused(f"{shown} in place of {sign.decode()!r}" if found else "too little", "complete JSON")
        self._at += 1


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
