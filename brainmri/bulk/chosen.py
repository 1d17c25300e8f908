"""Which files of a folder or an archive are scored, and how many others are left out, by reason."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from brainmri.bulk.archives.archive import is_archive_name
from brainmri.imaging.signatures import has_image_signature

SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".j2k",
    ".dcm", ".dicom", ".ima",
))  # fmt: skip
"""Name endings of images. In folders and archives, other files are left out; named by themselves, they are tried."""

OTHER_KIND, NO_IMAGE, ARCHIVE, DICOMDIR = "other_kind", "no_image", "archive", "dicomdir"
SYSTEM_FILE, LINKED_FOLDER, SPECIAL_FILE = "system_file", "linked_folder", "special_file"

REASONS: Mapping[str, str] = {
    OTHER_KIND: "the name ends like that of another kind of file",
    NO_IMAGE: "the name has no ending, and the first bytes are of no image",
    ARCHIVE: "an archive; name it as an input of its own",
    DICOMDIR: "the index of a DICOM medium; its images are read by themselves",
    SYSTEM_FILE: "left by an operating system",
    LINKED_FOLDER: "a link to a folder; name the folder itself",
    SPECIAL_FILE: "a pipe, socket or device",
}
"""Why a file is left out: the code in counts, and in words."""

_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


class Choice:
    """Chooses images, and counts what it leaves out.

    Attributes:
        left_out: Reason, a key of `REASONS`, to number of files.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()

    def takes(self, name: str, head: Callable[[], bytes]) -> bool:
        """Tells whether a file is scored, and counts it if not.

        Args:
            name: Its name, perhaps with folders before it.
            head: Gives its first `brainmri.imaging.signatures.HEAD_BYTES` bytes; called only where the name does not
                tell. A file that cannot be read is taken: its row says why.
        """
        reason = _reason(name, head)
        if reason is not None:
            self.leave_out(reason)
        return reason is None

    def leave_out(self, reason: str) -> None:
        """Counts a file that is left out for one of `REASONS`."""
        self.left_out[reason] += 1


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """Returns a line for people for each reason, the most frequent first."""
    return [f"{count}: {REASONS[reason]}" for reason, count in sorted(left_out.items(), key=lambda pair: -pair[1])]


def _reason(name: str, head: Callable[[], bytes]) -> str | None:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    # `._a.png` is what macOS knows about `a.png`.
    if path.name.lower() in _SYSTEM_FILES or path.name.startswith("._"):
        return SYSTEM_FILE
    if suffix in SUFFIXES:
        return None
    if is_archive_name(path.name):
        return ARCHIVE
    if path.name.upper() == "DICOMDIR":
        return DICOMDIR
    # Scanners name files by identifiers, whose last number looks like an ending.
    if suffix and not suffix[1:].isdigit():
        return OTHER_KIND
    return None if _is_image(head) else NO_IMAGE


def _is_image(head: Callable[[], bytes]) -> bool:
    try:
        return has_image_signature(head())
    except OSError:
        return True
