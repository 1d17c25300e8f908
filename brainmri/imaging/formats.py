"""What bytes look like, told from their first few: for a choice of decoder, and for a refusal that helps."""

import re

from brainmri.errors import ImageUnreadable

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "AVIF")
FORMATS = (*PICTURE_FORMATS, "DICOM")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AS_PICTURE = "Export the slice as PNG or JPEG, or send it as DICOM."

# Name and way out of what people send, by its beginning.
_OTHERS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name, remedy)
    for pattern, name, remedy in (
        (
            rb".{344}(n\+1|ni1)\0",
            "a NIfTI volume",
            "Run brainmri predict on it, or export a slice as PNG.",
        ),
        (rb"(\x5c\x01|\x01\x5c|\x1c\x02|\x02\x1c)\0\0", "a NIfTI volume", "Export one slice as PNG."),
        (rb"NRRD000", "an NRRD volume", "Export one slice as PNG, or convert it to NIfTI for brainmri predict."),
        (rb".{4}ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", "a HEIC picture", "Save it as JPEG or PNG."),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "Save it as JPEG or PNG."),
        (rb"%PDF", "a PDF document", "Export the slice from it as PNG or JPEG."),
        (rb"PK\x03\x04", "a zip archive", "Send its images to /predict_batch, or the archive to /score."),
        (rb"\x1f\x8b", "a gzip file, such as .nii.gz", "Unpack it; run brainmri predict on NIfTI."),
        (rb"\s*<(\?xml|svg|!doctype|html)", "a text document", _AS_PICTURE),
        (rb"[A-Za-z0-9+/\r\n]{256}", "base64 or other text", "Send the file's own bytes, or base64 to /v1/models."),
        (rb"data:image/", "a data URL", "Send the file's own bytes."),
        (rb"\x93NUMPY", "a NumPy array", "Save the slice as PNG, or send tensors by the Open Inference Protocol."),
    )
)


def is_png(data: bytes) -> bool:
    """Tells whether bytes are a PNG file."""
    return data.startswith(_PNG_SIGNATURE)


def png_significant_bits(data: bytes) -> int | None:
    """Returns the significant bits that a grey PNG of 16 bits declares (chunk sBIT), or None."""
    at = len(_PNG_SIGNATURE)
    # The chunk comes before the palette and the pixels, among few others.
    for _ in range(32):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"sBIT" and size == 1:
            bits = data[at + 8] if at + 8 < len(data) else 0
            return bits if 8 < bits <= 16 else None
        if kind in (b"", b"IDAT", b"PLTE"):
            return None
        at += 12 + size
    return None


def unknown_format(data: bytes) -> ImageUnreadable:
    """Returns the refusal of bytes in which no decoder finds an image; it names what they look like."""
    limit = ", ".join(FORMATS)
    for pattern, name, remedy in _OTHERS:
        if pattern.match(data[:512]):
            return ImageUnreadable(f"The upload looks like {name}, which is not read here. {remedy}", limit=limit)
    return ImageUnreadable(f"The upload is not a readable image. Send one of {limit}.", limit=limit)
