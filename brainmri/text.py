"""Text that somebody else chose, made safe for a message, a log, a row of results or a terminal."""

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, breaks of a line, turns of the direction of writing, and halves of a surrogate pair."""


def printable(text: str) -> str:
    r"""Returns text in which what cannot be shown or encoded is escaped, such as `\n`, `\x1b` and `\ud800`.

    Whoever sends a text that ends up in a message must not be able to forge a line of the log, to steer a terminal, or
    to make an answer that cannot be encoded as UTF-8.
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text) if _UNSAFE.search(text) else text
