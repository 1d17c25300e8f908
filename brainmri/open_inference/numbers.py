"""Arrays of small integers in a JSON document, taken out of it before it is parsed.

The standard parser makes an object for each of 268,203 numbers an image and a list for each of its 89,401 pixels, and
holds the interpreter's lock meanwhile: the event loop stood still for more than half a second for one request of 16
nested images. Here the digits become bytes piece by piece, and other threads run in between.
"""

import math
import re
from dataclasses import dataclass

from brainmri.blocking import Stop
from brainmri.errors import MalformedRequest

_KEY = b'"data"'
_OPENING = re.compile(rb'"data"\s*:\s*(?=\[)')
_CHARACTERS = b"[]0123456789, \t\r\n"
_LISTS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_PIECE = 65536
_MOST_ARRAYS = 64


@dataclass(frozen=True)
class Numbers:
    """An array of integers in [0, 255].

    Attributes:
        packed: One byte for each.
        lists: How many lists it was made of: 1 when it was flat.
    """

    packed: bytes
    lists: int

    def is_flat_or_nested_as(self, shape: tuple[int, ...]) -> bool:
        """Tells whether the numbers came in one list, or in as many as `shape` has."""
        return self.lists in (1, sum(math.prod(shape[:depth]) for depth in range(len(shape))))


def take_numbers(document: bytes, token: str, stop: Stop) -> tuple[bytes, dict[str, Numbers]]:
    """Replaces each `"data": [numbers]` by `"data": "name"`.

    Arrays of anything else, such as texts or fractions, stay as they are.

    Args:
        document: JSON.
        token: A text that the document cannot contain, the beginning of every name.
        stop: Ends the search.

    Returns:
        What is left of the document, and the arrays by name.

    Raises:
        MalformedRequest: Something between the commas is no integer from 0 to 255, or there are too many arrays.
        Stopped: Nobody waits for it.
    """
    kept: list[bytes] = []
    found: dict[str, Numbers] = {}
    done = 0
    # In valid JSON this text followed by a colon is always a key: in a text its quotes would be escaped.
    at = document.find(_KEY)
    while at >= 0:
        stop.check()
        opening = _OPENING.match(document, at)
        start = opening.end() if opening else at
        end = _end_of_numbers(document, start) if opening else start
        if len(found) == _MOST_ARRAYS:
            raise MalformedRequest(
                f"The JSON holds more than {_MOST_ARRAYS} arrays of data. Send one for each input.",
                limit=f"{_MOST_ARRAYS} arrays",
            )
        if end > start:
            name = f"{token}{len(found)}"
            found[name] = Numbers(_pack(document, start, end, stop), _count(document, b"[", start, end))
            kept += [document[done:start], f'"{name}"'.encode()]
            done = end
        at = document.find(_KEY, max(at + 1, end))
    return b"".join([*kept, document[done:]]) if kept else document, found


def _end_of_numbers(document: bytes, start: int) -> int:
    """Returns the end of the array that begins at `start`, or `start` when it holds anything but numbers and lists."""
    position = start
    while piece := document[position : position + _PIECE]:
        foreign = piece.translate(None, _CHARACTERS)
        if foreign:
            position += piece.index(foreign[:1])
            break
        position += len(piece)
    end = document.rfind(b"]", start, position) + 1
    balanced = _count(document, b"[", start, end) == _count(document, b"]", start, end)
    rest = document[max(end, start) : position].translate(None, b", \t\r\n")
    return end if end > start and balanced and not rest else start


def _count(document: bytes, sign: bytes, start: int, end: int) -> int:
    return sum(document.count(sign, at, min(at + _PIECE, end)) for at in range(start, end, _PIECE))


def _pack(document: bytes, start: int, end: int, stop: Stop) -> bytes:
    packed = bytearray()
    try:
        while start < end:
            stop.check()
            last = end if end - start <= _PIECE else document.rindex(b",", start, start + _PIECE)
            texts = document[start:last].translate(_LISTS_TO_SPACES)
            if not texts.isspace():
                packed += bytes(map(int, texts.split(b",")))
            elif last != end or packed:
                raise ValueError("nothing between two commas")
            start = last + 1
    except ValueError as error:
        raise MalformedRequest(
            "The data of the input must be integers from 0 to 255, flat or nested as its shape says.", limit="0 to 255"
        ) from error
    return bytes(packed)
