"""What decoding a DICOM object costs in each transfer syntax, beside a JPEG file of the same slice.

python -m benchmarks.dicom --side 512
"""

import io
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Annotated

import imagecodecs
import numpy as np
import pydicom
import typer
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, MRImageStorage, generate_uid

from benchmarks.options import Count, WriteTo
from benchmarks.pictures import pictures
from benchmarks.report import DEFAULT_FOLDER, Report, table
from brainmri.imaging import decode

Values = NDArray[np.uint16]

_UNCOMPRESSED = "1.2.840.10008.1.2.1"
_BITS = 12
_JPEG = "JPEG, grey"

_SYNTAXES: dict[str, tuple[str, Callable[[Values], bytes | bytearray] | None]] = {
    "DICOM, uncompressed": (_UNCOMPRESSED, None),
    "DICOM, deflated": ("1.2.840.10008.1.2.1.99", None),
    "DICOM, JPEG lossless": (
        "1.2.840.10008.1.2.4.70",
        lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=_BITS),
    ),
    "DICOM, JPEG-LS": ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
    "DICOM, JPEG 2000": (
        "1.2.840.10008.1.2.4.90",
        lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True),
    ),
}


def main(
    side: Annotated[int, typer.Option(min=64, max=4096, help="Longer side of the slices, in pixels.")] = 512,
    count: Count = 64,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds of every kind, in both orders by turns.")] = 5,
    output: WriteTo = DEFAULT_FOLDER / "dicom",
) -> None:
    """Measure the CPU time of decoding one slice at a time: on a busy machine too, the same."""
    source, jpegs = pictures(count, side)
    greys = [_grey(file) for file in jpegs]
    kinds: dict[str, list[bytes]] = {_JPEG: [_jpeg(grey) for grey in greys]}
    for name, (syntax, encode) in _SYNTAXES.items():
        kinds[name] = [dicom_object(_wide(grey), syntax, encode) for grey in greys]
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for files in kinds.values():
        decode(files[0])
    for number in range(rounds):
        # Every second round backwards: what comes later in a round finds a warmer or a busier machine.
        for name in list(kinds)[:: 1 - 2 * (number % 2)]:
            times[name].append(_seconds(kinds[name]))
    report = Report("dicom", {"slices": f"{count} {source}", "rounds": str(rounds)}, {"seconds": times})
    rows = [
        [
            name,
            f"{median(values) * 1e3 / count:.2f}",
            f"{count / median(values):.0f}",
            f"{_ratio(times[_JPEG], values):.2f}",
            f"{_kilobytes(kinds[name]):.0f}",
        ]
        for name, values in times.items()
    ]
    report.add(*table(["kind", "CPU ms a slice", "slices a CPU second", "of JPEG", "KB a file"], rows))
    report.publish(output)


def _seconds(files: Sequence[bytes]) -> float:
    start = time.process_time()
    for file in files:
        decode(file)
    return time.process_time() - start


def _ratio(of_jpeg: Sequence[float], of_kind: Sequence[float]) -> float:
    """Returns the speed beside that of JPEG files, the median of the rounds."""
    return median(jpeg / kind for jpeg, kind in zip(of_jpeg, of_kind, strict=True))


def _grey(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("L"))


def _jpeg(grey: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=90)
    return file.getvalue()


def _wide(grey: NDArray[np.uint8]) -> Values:
    """Returns the slice in 12 bits whose lowest ones are noise, as a scanner's are: without it they compress away."""
    noise = np.random.default_rng(grey.size).integers(0, 16, grey.shape)
    return np.asarray(grey.astype(np.uint16) * 16 + noise, np.uint16)


def dicom_object(values: Values, syntax: str, encode: Callable[[Values], bytes | bytearray] | None) -> bytes:
    """Returns an MR object of 12 bits in a transfer syntax; `encode` makes its codestream, None leaves the values."""
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = MRImageStorage, generate_uid(), "MR"
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, _BITS, _BITS - 1, 0
    ds.WindowCenter, ds.WindowWidth = 2048, 4096
    ds.PixelData = values.tobytes() if encode is None else encapsulate([bytes(encode(values))])
    ds["PixelData"].VR = "OW" if encode is None else "OB"
    ds["PixelData"].is_undefined_length = encode is not None
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def _kilobytes(files: Sequence[bytes]) -> float:
    return sum(map(len, files)) / len(files) / 1e3


if __name__ == "__main__":
    typer.run(main)
