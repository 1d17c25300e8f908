"""Small images with known pixels, in every encoding that `decode` accepts."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def grey() -> NDArray[np.uint8]:
    """Returns `[48, 64]`: a smooth slope that no flip or turn leaves as it is."""
    y, x = np.mgrid[0:48, 0:64]
    return np.asarray(2 * x + y + 40 * ((x < 20) & (y < 12)), np.uint8)


def rgb() -> NDArray[np.uint8]:
    """Returns `[48, 64, 3]` with three different channels."""
    return np.stack([grey(), grey()[:, ::-1], grey()[::-1]], axis=2)


def encode(pixels: NDArray[Any] | Image.Image, file_format: str, **options: Any) -> bytes:
    """Encodes pixels, or a Pillow image of any mode."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """Returns one PNG chunk with its checksum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_header(width: int, height: int) -> bytes:
    """Returns a PNG's signature and an 8-bit grey IHDR."""
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def tiff(tags: dict[int, list[int]], payload: bytes = b"") -> bytes:
    """Returns a little-endian TIFF of one directory of LONG tags; in `tags`, -1 stands for the payload's offset."""
    start = 8 + 2 + 12 * len(tags) + 4
    payload_at = start + sum(4 * len(values) for values in tags.values() if len(values) > 1)
    directory, arrays = struct.pack("<H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        placed = struct.pack(f"<{len(values)}I", *(payload_at if value == -1 else value for value in values))
        where = placed if len(values) == 1 else struct.pack("<I", start + len(arrays))
        arrays += b"" if len(values) == 1 else placed
        directory += struct.pack("<HHI", tag, 4, len(values)) + where
    return b"II*\0" + struct.pack("<I", 8) + directory + b"\0\0\0\0" + arrays + payload


def lossless() -> dict[str, bytes]:
    """Returns files of `grey()` that keep every pixel, by name."""
    picture = grey()
    return {
        "png": encode(picture, "PNG"),
        "bmp": encode(picture, "BMP"),
        "gif": encode(picture, "GIF"),
        "gif-interlaced": encode(picture, "GIF", interlace=1),
        "webp": encode(picture, "WEBP", lossless=True),
        "tiff": encode(picture, "TIFF"),
        "tiff-lzw": encode(picture, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encode(picture, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-packbits": encode(picture, "TIFF", compression="packbits"),
    }


def every_kind() -> dict[str, bytes]:
    """Returns at least one file of each format, depth and mode, by name: what fuzzing starts from."""
    colour = Image.fromarray(rgb())
    return {
        **lossless(),
        "jpeg": encode(colour, "JPEG", quality=95),
        "jpeg-progressive": encode(colour, "JPEG", progressive=True),
        "jpeg-cmyk": encode(colour.convert("CMYK"), "JPEG"),
        "jpeg-exif": encode(colour, "JPEG", exif=orientation(6)),
        "mpo": encode(colour, "MPO", save_all=True, append_images=[colour]),
        "png-rgba": encode(colour.convert("RGBA"), "PNG"),
        "png-palette": encode(colour.quantize(16), "PNG", transparency=3),
        "png-16": encode(grey().astype(np.uint16) * 257, "PNG"),
        "webp-lossy": encode(colour, "WEBP"),
        "webp-alpha": encode(colour.convert("RGBA"), "WEBP"),
        "gif-animated": encode(colour, "GIF", save_all=True, append_images=[colour.rotate(90)]),
        "tiff-float": encode(grey().astype(np.float32) / 255, "TIFF"),
        "tiff-jpeg": encode(colour, "TIFF", compression="jpeg"),
    }


def orientation(value: object) -> bytes:
    """Returns an EXIF block that holds nothing but the orientation tag."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()
