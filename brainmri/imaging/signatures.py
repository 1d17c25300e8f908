"""Of which format a file is, by its first bytes: for files whose names do not tell."""

import re

from brainmri.imaging.dicom_header import is_dicom
from brainmri.imaging.nifti import is_nifti

HEAD_BYTES = 512
"""So many bytes from the beginning are enough to tell."""

DICOM, NIFTI = "DICOM", "NIfTI"

_PICTURES = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("JPEG", rb"\xff\xd8\xff"),
        ("PNG", rb"\x89PNG\r\n\x1a\n"),
        ("GIF", rb"GIF8[79]a"),
        ("TIFF", rb"II[*+]\0|MM\0[*+]"),
        ("WEBP", rb"RIFF.{4}WEBP"),
        # With the size of one of its headers: texts may begin with BM too.
        ("BMP", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}"),
        ("JPEG2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
        ("AVIF", rb".{4}ftypavi[fs]"),
    )
)


def format_of(head: bytes) -> str | None:
    """Returns the format of a file: one of `brainmri.imaging.formats.FORMATS`, or `NIfTI`; None for any other.

    Args:
        head: Its first `HEAD_BYTES` bytes, or all of a smaller file.
    """
    for name, pattern in _PICTURES:
        if pattern.match(head):
            return name
    if is_dicom(head):
        return DICOM
    return NIFTI if is_nifti(head) else None
