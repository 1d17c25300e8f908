"""An image as it was read: bytes, or a slice of a volume, and the hash of its file."""

import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from brainmri.imaging import Picture


@dataclass(frozen=True)
class Loaded:
    """What was read of a file.

    Attributes:
        data: Its bytes; the picture of one slice of a NIfTI volume.
        sha256: Of the file's bytes, hexadecimal.
    """

    data: bytes | Picture
    sha256: str


def loaded(read: Callable[[], bytes]) -> Loaded:
    """Returns what `read` returns, with its hash; call it in a thread."""
    data = read()
    return Loaded(data, hashlib.sha256(data).hexdigest())


class LastRead:
    """Keeps the file that was read last: the frames of a file follow each other. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Hashable = None
        self._image: Loaded | None = None

    def get(self, key: Hashable, read: Callable[[], bytes]) -> Loaded:
        """Returns the file named `key`, which `read` reads if another one was read last; raises what that raises."""
        with self._lock:
            if self._image is None or self._key != key:
                self._image = None
                self._image, self._key = loaded(read), key
            return self._image
