"""The header of a DICOM object (PS3.5, PS3.10): only the elements that are asked for are ever read.

Those that its pixels need are without name, date or number of a patient, so that none can reach a log, an error or a
result. Lists of files tell objects and series apart by digests of their identifiers, made by
`brainmri.imaging.contents`. `brainmri.dicom` asks for the patient and the study as well, to write results into that
study.
"""

import functools
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from brainmri.errors import ImageTooLarge, ImageUnreadable
from brainmri.imaging.hostile import MAX_DICOM_READS, CountedReads
from brainmri.imaging.limits import DecodeLimits

_PREAMBLE, _PREFIX = 128, b"DICM"
_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_FIRST_ELEMENTS = frozenset({0x0000, 0x0001, 0x0005, 0x0008, 0x0012, 0x0014, 0x0016, 0x0018, 0x0020, 0x0060})
"""Elements of group 8 with which a data set without preamble begins."""

_MOST_INFLATED = 256 * 2**20
_MOST_RATIO = 1032
"""A byte of deflate stands for at most so many."""

_CUT = "The DICOM file ends within its file meta information. Send the whole, intact file."
_MOST_META_ELEMENTS = 256
"""Of the file meta information; PS3.10 knows 17. Two million empty ones in 16 MiB would take seconds."""

_MOST_META_BYTES = 2**20
"""Of the file meta information and of a deflated object's beginning, where only that is read."""

WANTED = (
    "Modality", "BodyPartExamined", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "PixelPaddingValue", "PresentationLUTShape", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "FloatPixelData", "DoubleFloatPixelData", "PixelData",
)  # fmt: skip


def is_dicom(data: bytes) -> bool:
    """Tells whether bytes are a DICOM object, with a preamble, with file meta information alone, or with neither."""
    if data[_PREAMBLE : _PREAMBLE + 4] == _PREFIX:
        return True
    if data.startswith(b"\x02\0\0\0UL\4\0") or data.startswith(b"\x02\0\x10\0UI"):
        return True
    order = {b"\x08\0": "<", b"\0\x08": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return False
    (element,) = struct.unpack_from(order + "H", data, 2)
    has_vr = data[4:6].isalpha() and data[4:6].isupper()
    # An implicit value has its length next, which is small for every one of these elements.
    return element in _FIRST_ELEMENTS and (has_vr or (order == "<" and data[6:8] == b"\0\0"))


def read_header(data: bytes, limits: DecodeLimits) -> Any:
    """Returns the elements in `WANTED`; the file meta information of the `Dataset` holds the transfer syntax alone.

    Args:
        data: The whole object; its size has been checked.
        limits: What to refuse.

    Raises:
        ImageTooLarge: A deflated object that is too large.
        Exception: Whatever pydicom raises for damaged bytes.
    """
    pydicom = quiet_pydicom()
    syntax, start = _transfer_syntax(data)
    if syntax == _DEFLATED:
        data, start, syntax = _inflated(data[start:], limits), 0, _EXPLICIT
    file = CountedReads(data, MAX_DICOM_READS)
    file.seek(start)
    dataset = pydicom.filereader.read_dataset(
        file, syntax == _IMPLICIT, syntax != _BIG_ENDIAN, specific_tags=[pydicom.tag.Tag(name) for name in WANTED]
    )
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    return dataset


def read_beginning(file: BinaryIO) -> Any:
    """Returns what a list of files needs of an object: its identifiers and its number of frames.

    Args:
        file: At its beginning; little more than what comes before the pixels is read.

    Raises:
        Exception: Whatever pydicom raises for damaged bytes.
    """
    return _read_some(file, ("SOPInstanceUID", "SeriesInstanceUID", "NumberOfFrames"))


def read_directory(file: BinaryIO) -> Any:
    """Returns the records of a DICOMDIR (PS3.10, 8.6), or None for another object; errors as in `read_beginning`."""
    dataset = _read_some(file, ("DirectoryRecordSequence",))
    return dataset.DirectoryRecordSequence if "DirectoryRecordSequence" in dataset else None


def read_elements(file: BinaryIO, keywords: Sequence[str]) -> Any:
    """Returns the elements with these keywords, all of them before the pixels; errors as in `read_beginning`."""
    return _read_some(file, keywords)


def _read_some(file: BinaryIO, names: Sequence[str]) -> Any:
    pydicom = quiet_pydicom()
    tags = [pydicom.tag.Tag(name) for name in names]
    syntax, start = _transfer_syntax(file.read(_MOST_META_BYTES))
    file.seek(start)
    if syntax == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        file, syntax = io.BytesIO(inflater.decompress(file.read(_MOST_META_BYTES), _MOST_META_BYTES)), _EXPLICIT
    return pydicom.filereader.read_dataset(
        file,
        syntax == _IMPLICIT,
        syntax != _BIG_ENDIAN,
        stop_when=lambda tag, _vr, _length: tag > max(tags),
        specific_tags=tags,
    )


@functools.cache
def quiet_pydicom() -> Any:
    """Imports pydicom and silences it: its warnings and log lines quote the values of elements.

    One filter for pydicom's own modules, set once, is safe among threads; see `brainmri.imaging.decode`.
    """
    import pydicom.dataset  # noqa: PLC0415 -- takes 0.2 s, and most servers never see DICOM
    import pydicom.filereader  # noqa: PLC0415
    import pydicom.pixels  # noqa: PLC0415

    warnings.filterwarnings("ignore", module=r"pydicom\.")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return pydicom


@dataclass(frozen=True)
class _Element:
    tag: tuple[int, int]
    value: bytes
    end: int


def _transfer_syntax(data: bytes) -> tuple[str, int]:
    """Returns the transfer syntax, and where the data set begins."""
    at = _PREAMBLE + 4 if data[_PREAMBLE : _PREAMBLE + 4] == _PREFIX else 0
    syntax = ""
    for _ in range(_MOST_META_ELEMENTS):
        if data[at : at + 2] != b"\x02\0":
            return syntax or _guessed(data, at), at
        element = _meta_element(data, at)
        if element.tag == (2, 0x10):
            syntax = element.value.decode("ascii", "replace").strip("\0 ")
        at = element.end
    raise ImageUnreadable(
        f"The DICOM file meta information has more than {_MOST_META_ELEMENTS} elements. Send the file as its scanner or"
        " archive has it.",
        limit=f"{_MOST_META_ELEMENTS} elements",
    )


def _meta_element(data: bytes, at: int) -> _Element:
    """Reads one element of the file meta information, which is always explicit and little endian."""
    try:
        group, number, vr, size = struct.unpack_from("<HH2sH", data, at)
        start = at + 8
        if vr in _LONG_VRS:
            (size,) = struct.unpack_from("<I", data, start)
            start += 4
    except struct.error:
        raise ImageUnreadable(_CUT) from None
    if start + size > len(data):
        raise ImageUnreadable(_CUT)
    return _Element((group, number), data[start : start + size], start + size)


def _guessed(data: bytes, at: int) -> str:
    """Returns what the first element of a data set shows: an explicit one has two capital letters after its tag."""
    if not data[at + 4 : at + 6].isupper():
        return _IMPLICIT
    return _BIG_ENDIAN if data[at : at + 1] == b"\0" else _EXPLICIT


def inflation(file: BinaryIO) -> int:
    """Returns how many bytes one byte of an object, at its beginning, may stand for; errors as in `read_beginning`."""
    return _MOST_RATIO if _transfer_syntax(file.read(_MOST_META_BYTES))[0] == _DEFLATED else 1


def inflated_peak(data: bytes, limits: DecodeLimits) -> int:
    """Returns the most bytes that inflating an object may take; 0 for one that is not deflated.

    Raises:
        ImageUnreadable: The file meta information is cut off.
        struct.error: It is damaged.
    """
    syntax, start = _transfer_syntax(data)
    return min(_most_inflated(limits), _MOST_RATIO * (len(data) - start)) if syntax == _DEFLATED else 0


def _most_inflated(limits: DecodeLimits) -> int:
    return min(_MOST_INFLATED, 4 * limits.max_pixels + limits.max_bytes)


def _inflated(deflated: bytes, limits: DecodeLimits) -> bytes:
    most = _most_inflated(limits)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(deflated, most)
    if inflater.unconsumed_tail:
        raise ImageTooLarge(
            f"The deflated DICOM object has more than {most} bytes. Send one frame, or save it uncompressed.",
            limit=f"{most} bytes",
        )
    return data
