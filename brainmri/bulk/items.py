"""What one image of a bulk run is called and where it lies."""

import hashlib
from dataclasses import dataclass

_ID_CHARACTERS = 20
"""Of hexadecimal: 80 bits. Among ten million images two have the same with a probability of 4e-11."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image to score.

    Attributes:
        id: Follows from `path` alone, so it is the same in every run that names the image so; a manifest may choose it.
        path: For people: as the caller named it; in an archive, the archive's path and then the member's.
        location: For reading: an absolute path or URL of the file, or of the archive that holds it.
        member: Its name in the archive; None for a file.
    """

    id: str
    path: str
    location: str
    member: str | None = None


def item_id(path: str) -> str:
    """Returns the identity that follows from a path."""
    # A file name on Linux is bytes, and need not be UTF-8.
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:_ID_CHARACTERS]
