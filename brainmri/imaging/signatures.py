"""Whether a file holds an image, by its first bytes: for files whose names do not tell."""

import re

from brainmri.imaging.dicom_header import is_dicom

HEAD_BYTES = 512
"""So many bytes from the beginning are enough to tell."""

_SIGNATURES = re.compile(
    rb"\xff\xd8\xff"  # JPEG and MPO
    rb"|\x89PNG\r\n\x1a\n"
    rb"|GIF8[79]a"
    rb"|II\*\0|MM\0\*|II\+\0|MM\0\+"  # TIFF and BigTIFF
    rb"|RIFF.{4}WEBP"
    rb"|BM.{12}[\x0c\x28\x38\x40\x6c\x7c]\0{3}"  # BMP with the size of one of its headers
    rb"|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"  # JPEG 2000, in a file or as a bare codestream
    rb"|.{4}ftypavi[fs]",
    re.DOTALL,
)


def has_image_signature(head: bytes) -> bool:
    """Tells whether a file begins like an image of one of the formats that are decoded.

    Args:
        head: Its first `HEAD_BYTES` bytes, or all of a smaller file.
    """
    return _SIGNATURES.match(head) is not None or is_dicom(head)
