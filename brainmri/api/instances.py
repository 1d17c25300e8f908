"""The JSON body of KServe's protocol V1, read piece by piece.

`{"instances": [I, ...]}`, where an instance I is `{"b64": "..."}` (an encoded image), a nested list `[299][299][3]` of
whole numbers from 0 to 255, or either of them as `{"image": ...}`. A general JSON parser would build the whole tree
first: a body of 64 MB becomes more than a gigabyte of lists, and the interpreter does nothing else meanwhile. This
reader never holds more than one row of pixels as lists.
"""

import binascii
import json
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from brainmri.api.form import file_too_large
from brainmri.errors import BrainMRIError, MalformedRequest, RequestTooLarge
from brainmri.imaging import SIDE

Instance = bytes | NDArray[np.uint8]
"""An encoded image, or a tensor, uint8 `[299, 299, 3]`."""

_SPACE = re.compile(r"[ \t\r\n]+")
_NUMBERS = re.compile(r"[\[\],0-9 \t\r\n]*")
_TENSOR = f"whole numbers from 0 to 255 of shape [{SIDE}][{SIDE}][3]"
_ROW_CHARACTERS = 32 * 2**10  # one row as a client prints it with four characters of space around each number
_NAME_CHARACTERS = 256
_BASE64_PIECE = 2**20  # characters; decoding holds the interpreter, so it is done in pieces
_DECODER = json.JSONDecoder()


def read_instances(body: bytes, max_instances: int, max_image_bytes: int) -> list[Instance]:
    """Reads the body; call it in a thread.

    Args:
        body: The JSON, UTF-8.
        max_instances: Most instances.
        max_image_bytes: Largest encoded image, in bytes.

    Returns:
        At least one instance.

    Raises:
        MalformedRequest: Not JSON of this form; says where.
        ImageTooLarge: An encoded image exceeds the limit.
        RequestTooLarge: Too many instances.
    """
    try:
        reader = _Reader(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8. Send JSON.") from error
    instances: list[Instance] = []

    def take_instance() -> None:
        if len(instances) == max_instances:
            raise RequestTooLarge(
                f"The request has more than {max_instances} instances. Send them in several requests.",
                limit=f"{max_instances} instances",
            )
        try:
            instances.append(_instance(reader, max_image_bytes))
        except BrainMRIError as error:
            raise of_instance(len(instances), error) from error

    def take_member(name: str) -> None:
        if name == "instances":
            reader.items(take_instance)
        elif name == "signature_name":
            reader.text(_NAME_CHARACTERS)
        else:
            raise reader.refused(f"an unknown field {name[:40]!r}", "'instances' alone")

    reader.members(take_member)
    reader.end()
    if not instances:
        raise MalformedRequest('The body holds no instance. Send {"instances": [{"b64": "..."}]}.')
    return instances


def of_instance(number: int, error: BrainMRIError) -> BrainMRIError:
    """Returns `error` with a message that names the instance, counted from 0."""
    error.message = f"Instance {number}: {error.message}"
    error.args = (error.message,)
    return error


def _instance(reader: "_Reader", max_image_bytes: int, *, named: bool = False) -> Instance:
    if reader.peek() == "[":
        return _tensor(reader)
    found: list[Instance] = []

    def take_member(name: str) -> None:
        if name == "b64":
            found.append(_image(reader, max_image_bytes))
        elif name == "image" and not named:
            found.append(_instance(reader, max_image_bytes, named=True))
        else:
            raise reader.refused(f"an unexpected field {name[:40]!r}", '{"b64": "..."} or {"image": {"b64": "..."}}')

    reader.members(take_member)
    if len(found) != 1:
        raise reader.refused(f"{len(found)} images in one instance", "exactly one")
    return found[0]


def _image(reader: "_Reader", max_bytes: int) -> bytes:
    # Three bytes are four characters; a slash may be escaped as two.
    text = reader.text(max_bytes // 3 * 8 + _NAME_CHARACTERS).replace("\\/", "/")
    if len(text) // 4 * 3 - 2 > max_bytes:
        raise file_too_large(len(text) // 4 * 3 - 2, max_bytes)
    try:
        # Padding ends the text: a piece that is followed by more must not have any.
        if "=" in text[:-2]:
            raise binascii.Error
        pieces = (text[start : start + _BASE64_PIECE] for start in range(0, len(text), _BASE64_PIECE))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except ValueError as error:
        raise reader.refused(
            "text that is not base64", "the standard alphabet with padding and no line breaks"
        ) from error


def _tensor(reader: "_Reader") -> NDArray[np.uint8]:
    tensor = np.empty((SIDE, SIDE, 3), np.uint8)
    count = 0

    def take_row() -> None:
        nonlocal count
        try:
            row = np.array(reader.numbers(_ROW_CHARACTERS))
        except ValueError:  # rows of different lengths
            row = np.empty(0)
        if count == SIDE or row.shape != (SIDE, 3):
            raise reader.refused("a tensor of another shape", _TENSOR)
        if row.max() > 255:
            raise reader.refused("a value above 255", _TENSOR)
        tensor[count] = row
        count += 1

    reader.items(take_row)
    if count != SIDE:
        raise reader.refused(f"a tensor of {count} rows", _TENSOR)
    return tensor


class _Reader:
    """A cursor over JSON text; each method consumes what it names or raises MalformedRequest."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def refused(self, what: str, instead: str) -> MalformedRequest:
        return MalformedRequest(f"The body holds {what} before character {self._at}. Send {instead}.")

    def peek(self) -> str:
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()
        return self._text[self._at : self._at + 1]

    def items(self, take: Callable[[], None]) -> None:
        """Consumes an array; `take` consumes each item."""
        self._enclosed("[", "]", take)

    def members(self, take: Callable[[str], None]) -> None:
        """Consumes an object; `take` gets each name and consumes its value."""

        def take_member() -> None:
            name = self.text(_NAME_CHARACTERS)
            self._expect(":")
            take(name)

        self._enclosed("{", "}", take_member)

    def text(self, most: int) -> str:
        """Consumes a string of at most `most` characters; escapes stay as they are."""
        self._expect('"')
        end = self._text.find('"', self._at, self._at + most + 1)
        if end < 0:
            raise self.refused("text that does not end or is too long", f"at most {most} characters")
        text, self._at = self._text[self._at : end], end + 1
        return text

    def numbers(self, most: int) -> object:
        """Consumes nested arrays of whole, unsigned numbers, in at most `most` characters."""
        self.peek()
        try:
            value, length = _DECODER.raw_decode(self._text[self._at : self._at + most])
        except (ValueError, RecursionError) as error:
            raise self.refused(f"no row of numbers in {most} characters", _TENSOR) from error
        if not _NUMBERS.fullmatch(self._text, self._at, self._at + length):
            raise self.refused("something other than whole numbers", _TENSOR)
        self._at += length
        return value

    def end(self) -> None:
        if self.peek():
            raise self.refused("more than one value", "one JSON object")

    def _enclosed(self, first: str, last: str, take: Callable[[], None]) -> None:
        self._expect(first)
        if self.peek() == last:
            self._at += 1
            return
        while True:
            take()
            if self.peek() == last:
                self._at += 1
                return
            self._expect(",")

    def _expect(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise self.refused(f"{found!r} in place of {character!r}" if found else "too little", "complete JSON")
        self._at += 1
