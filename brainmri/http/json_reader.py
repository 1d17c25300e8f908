"""JSON read piece by piece, for bodies whose whole tree would be too large to build."""

import json
import re
from collections.abc import Callable

from brainmri.errors import MalformedRequest

_SPACE = re.compile(r"[ \t\r\n]+")
_NUMBERS = re.compile(r"[\[\],0-9 \t\r\n]*")
_NAME_CHARACTERS = 256
_DECODER = json.JSONDecoder()


class JsonReader:
    """A cursor over JSON text; each method consumes what it names or raises `MalformedRequest`.

    Args:
        text: The JSON.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def refused(self, what: str, instead: str) -> MalformedRequest:
        """Returns the error that says what was found, where, and what to send instead."""
        return MalformedRequest(f"The body holds {what} before character {self._at}. Send {instead}.")

    def peek(self) -> str:
        """Returns the next character that is no space, without consuming it; empty at the end."""
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

    def numbers(self, most: int, instead: str) -> object:
        """Consumes nested arrays of whole, unsigned numbers, in at most `most` characters.

        Args:
            most: Largest length.
            instead: What to send, for the error.
        """
        self.peek()
        try:
            value, length = _DECODER.raw_decode(self._text[self._at : self._at + most])
        except (ValueError, RecursionError) as error:
            raise self.refused(f"no row of numbers in {most} characters", instead) from error
        if not _NUMBERS.fullmatch(self._text, self._at, self._at + length):
            raise self.refused("something other than whole numbers", instead)
        self._at += length
        return value

    def end(self) -> None:
        """Refuses anything but spaces."""
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
