"""JSON read piece by piece, for bodies whose whole tree would be too large to build."""

import json
import re
from collections.abc import Callable

from brainmri.blocking import Stop
from brainmri.errors import MalformedRequest

_SPACE = re.compile(rb"[ \t\r\n]+")
_SPACES_AT_ONCE = 2**16
"""A search holds the interpreter; the event loop gets it in between."""

_NUMBERS = re.compile(rb"[\[\],0-9 \t\r\n]*")
_NAME_BYTES = 256
_DECODER = json.JSONDecoder()


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
        """Returns the next byte that is no space, without consuming it; empty at the end."""
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
            # Latin-1: what is no number is refused below, and a byte stays a character.
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
