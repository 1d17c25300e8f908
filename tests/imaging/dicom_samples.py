"""Small DICOM objects with known pixels, in every transfer syntax that has an encoder, and their marked patient."""

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, MRImageStorage

from tests.imaging.samples import grey

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, EXTENDED, LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, HTJ2K = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"


def twelve_bits() -> NDArray[np.uint16]:
    """Returns `[48, 64]` with values up to 4095."""
    return np.asarray(np.rint(grey() * (4095 / int(grey().max()))), np.uint16)


def dataset(pixels: NDArray[Any], syntax: str = EXPLICIT, **elements: Any) -> pydicom.Dataset:
    """Returns an MR object of one frame, or of as many as `pixels`, `[H, W]` or `[F, H, W]`, has."""
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, "1.2.3.4"
    ds.Modality, ds.BodyPartExamined = "MR", "BRAIN"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = 12 if pixels.dtype == np.uint16 else ds.BitsAllocated
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    ds.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(ds, name, value)
    return ds


def encoded(pixels: NDArray[Any], codestream: bytes | bytearray, syntax: str, **elements: Any) -> bytes:
    """Returns an object whose one frame is a codestream."""
    ds = dataset(pixels, syntax, **elements)
    ds.PixelData = encapsulate([bytes(codestream)])
    return file(ds)


def file(ds: pydicom.Dataset, *, preamble: bool = True, meta: bool = True) -> bytes:
    """Writes an object, with all of its file format, or without the first parts of it."""
    syntax = ds.file_meta.TransferSyntaxUID
    if "PixelData" in ds:
        ds["PixelData"].VR = "OB" if syntax.is_encapsulated or ds.BitsAllocated == 8 else "OW"
        ds["PixelData"].is_undefined_length = syntax.is_encapsulated
    stream = io.BytesIO()
    if meta:
        pydicom.dcmwrite(stream, ds, enforce_file_format=True)
        return stream.getvalue() if preamble else stream.getvalue()[132:]
    little = syntax != BIG_ENDIAN
    pydicom.dcmwrite(stream, _without_meta(ds), implicit_vr=syntax == IMPLICIT, little_endian=little)
    return stream.getvalue()


def _without_meta(ds: pydicom.Dataset) -> pydicom.Dataset:
    bare = pydicom.Dataset(ds)
    bare.file_meta = FileMetaDataset()
    return bare


def packed_runs(pixels: NDArray[np.uint16]) -> bytes:
    """Returns the RLE frame of 16-bit samples, in literal runs of one row each: PS3.5, Annex G."""
    planes = [pixels >> 8, pixels & 0xFF]
    segments = [b"".join(bytes([len(row) - 1]) + row.astype(np.uint8).tobytes() for row in plane) for plane in planes]
    return struct.pack("<16I", 2, 64, 64 + len(segments[0]), *[0] * 13) + b"".join(segments)


def every_syntax() -> dict[str, bytes]:
    """Returns an object of 12-bit greys in each transfer syntax that keeps them, by name."""
    pixels = twelve_bits()
    big = dataset(pixels, BIG_ENDIAN, PixelData=pixels.astype(">u2").tobytes())
    return {
        "implicit": file(dataset(pixels, IMPLICIT)),
        "explicit": file(dataset(pixels)),
        "big endian": file(big),
        "deflated": file(dataset(pixels, DEFLATED)),
        "rle": encoded(pixels, packed_runs(pixels), RLE),
        "lossless jpeg": encoded(pixels, imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=12), LOSSLESS),
        "jpeg-ls": encoded(pixels, imagecodecs.jpegls_encode(pixels), JPEG_LS),
        "jpeg 2000": encoded(pixels, imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True), JPEG_2000),
    }
