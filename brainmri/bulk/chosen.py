"""Which files of a folder or an archive are scored, and how many others are left out, by reason."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from brainmri.bulk.archives.archive import is_archive_name
from brainmri.imaging.signatures import NIFTI, format_of

_PICTURES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".avif", ".jp2", ".j2k",
))  # fmt: skip
_DICOM = frozenset({".dcm", ".dicom", ".ima"})
_VOLUMES = (".nii", ".nii.gz")
SUFFIXES = _PICTURES | _DICOM
"""Name endings of images. In folders and archives, other files are left out; named by themselves, they are tried."""

OTHER_KIND, NO_IMAGE, VOLUME = "other_kind", "no_image", "volume"
ARCHIVE, DICOMDIR = "archive", "dicomdir"
SYSTEM_FILE, LINKED_FOLDER, SPECIAL_FILE = "system_file", "linked_folder", "special_file"

REASONS: Mapping[str, str] = {
    OTHER_KIND: "the name ends like that of another kind of file",
    NO_IMAGE: "the name has no ending, and the first bytes are of no image",
    VOLUME: "a NIfTI volume; name it to brainmri score or brainmri predict as a file of this machine",
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

    Args:
        volumes: Whether NIfTI volumes are taken.
        left_out: Goes on with these counts; with new ones if None.

    Attributes:
        left_out: Reason, a key of `REASONS`, to number of files.
    """

    def __init__(self, *, volumes: bool = False, left_out: Counter[str] | None = None) -> None:
        self._volumes = volumes
        self.left_out: Counter[str] = Counter() if left_out is None else left_out

    def takes(self, name: str, head: Callable[[], bytes]) -> bool:
        """Tells whether a file is scored, and counts it if not.

        Args:
            name: Its name, perhaps with folders before it.
            head: Gives its first `brainmri.imaging.signatures.HEAD_BYTES` bytes; called only where the name does not
                tell. A file that cannot be read is taken: its row says why.
        """
        reason = _reason(name, head, volumes=self._volumes)
        if reason is not None:
            self.leave_out(reason)
        return reason is None

    def leave_out(self, reason: str) -> None:
        """Counts a file that is left out for one of `REASONS`."""
        self.left_out[reason] += 1


def may_hold_frames(name: str) -> bool:
    """Tells whether a file may be a DICOM object or a NIfTI volume, by its name."""
    return PurePosixPath(name).suffix.lower() not in _PICTURES


def is_directory_name(name: str) -> bool:
    """Tells whether a file is the index of a DICOM medium, by its name."""
    return PurePosixPath(name).name.upper() == "DICOMDIR"


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """Returns a sentence about the files left out for each reason, for people, the most frequent reason first."""
    return [
        f"Left out, {count}: {REASONS[reason]}."
        for reason, count in sorted(left_out.items(), key=lambda pair: -pair[1])
    ]


def _reason(name: str, head: Callable[[], bytes], *, volumes: bool) -> str | None:
    path = PurePosixPath(name)
    suffix = path.suffix.lower()
    # `._a.png` is what macOS knows about `a.png`.
    if path.name.lower() in _SYSTEM_FILES or path.name.startswith("._"):
        return SYSTEM_FILE
    is_volume = path.name.lower().endswith(_VOLUMES)
    if suffix in SUFFIXES or (is_volume and volumes):
        return None
    if is_archive_name(path.name):
        return ARCHIVE
    if is_volume or is_directory_name(path.name):
        return VOLUME if is_volume else DICOMDIR
    # Scanners name files by identifiers, whose last number looks like an ending.
    is_told_by_name = suffix and not suffix[1:].isdigit()
    return OTHER_KIND if is_told_by_name else _reason_by_content(head, volumes=volumes)


def _reason_by_content(head: Callable[[], bytes], *, volumes: bool) -> str | None:
    try:
        kind = format_of(head())
    except OSError:
        return None
    if kind == NIFTI:
        return None if volumes else VOLUME
    return NO_IMAGE if kind is None else None
