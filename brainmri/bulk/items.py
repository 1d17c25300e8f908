"""What one image of a bulk run is called and where it lies."""

import hashlib
from dataclasses import dataclass, replace

from brainmri.imaging import FrameOf

_ID_CHARACTERS = 20
"""Of hexadecimal: 80 bits. Among ten million images two have the same with a probability of 4e-11."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image to score.

    Attributes:
        id: Follows from `path` and `frame` alone, so it is the same in every run that names the image so; a table may
            choose it.
        path: For people: as the caller named it; in an archive, the archive's path and then the member's.
        location: For reading: an absolute path or URL of the file, or of the archive that holds it.
        member: Its name in the archive; None for a file.
        frame: Which frame, page or slice of it, from 0; None for the only one, or the one that is usually taken.
        instance: See `brainmri.imaging.FrameOf`.
        series: See `brainmri.imaging.FrameOf`.
    """

    id: str
    path: str
    location: str
    member: str | None = None
    frame: int | None = None
    instance: str | None = None
    series: str | None = None

    @property
    def shown(self) -> str:
        """For people: the path, and which frame of it."""
        return self.path if self.frame is None else f"{self.path}, frame {self.frame}"

    @property
    def is_local_file(self) -> bool:
        """Whether it lies in a file of its own on this machine."""
        return self.member is None and "://" not in self.location

    def of(self, frame: FrameOf) -> "Item":
        """Returns one frame of the file as an item with an identity of its own."""
        identity = self.id
        if frame.frame is not None:
            is_own = identity == item_id(self.path)
            identity = item_id(self.path, frame.frame) if is_own else f"{identity}-{frame.frame}"
        return replace(self, id=identity, frame=frame.frame, instance=frame.instance, series=frame.series)


def item_id(path: str, frame: int | None = None) -> str:
    """Returns the identity that follows from a path, and from the frame where a file has several."""
    # No path holds a zero byte.
    text = path if frame is None else f"{path}\0{frame}"
    # A file name on Linux is bytes, and need not be UTF-8.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_ID_CHARACTERS]
