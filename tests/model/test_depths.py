"""One slice gets one answer, in whatever depth and number type it was stored."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmri.imaging import decode
from brainmri.model.bundle import load_bundle
from brainmri.model.predictor import Predictor
from tests.imaging.dicom_samples import dataset, file
from tests.imaging.samples import encode

RELEASED = Path(__file__).parents[2] / "models" / "brain_mri_xception"
SURE, CLOSE, NEAR = 0.9, 0.02, 0.15
"""A slice that the network is sure of keeps its probabilities within `CLOSE`, others within `NEAR`: int8 rounds."""

OF_EVERY_DEPTH = frozenset({
    *(f"png of {bits} bits in 16" for bits in (10, 12, 14, 16)), "tiff of floats up to 1", "tiff of floats up to 4095",
})  # fmt: skip


def stored(slice_16: NDArray[np.uint16]) -> Iterator[tuple[str, bytes]]:
    """Yields the slice as each depth and type of number, by name; all 16 bits of `slice_16` carry information."""
    of_bits = {bits: np.asarray(np.rint(slice_16 * ((2**bits - 1) / 65535)), np.uint16) for bits in (8, 10, 12, 14, 16)}
    for bits, values in of_bits.items():
        yield f"png of {bits} bits in 16", encode(values if bits > 8 else values.astype(np.uint8), "PNG")
        yield f"tiff of 32-bit integers up to {bits} bits", encode(Image.fromarray(values.astype(np.int32)), "TIFF")
        yield f"tiff of floats up to {2**bits - 1}", encode(Image.fromarray(values.astype(np.float32)), "TIFF")
    yield "tiff of floats up to 1", encode(Image.fromarray((slice_16 / np.float32(65535)).astype(np.float32)), "TIFF")
    for bits in (10, 12, 14, 16):
        yield f"dicom of {bits} bits", file(dataset(of_bits[bits], BitsStored=bits, HighBit=bits - 1))


def finer_slices(data: Path, of_each_class: int) -> Iterator[tuple[Path, NDArray[np.uint8], NDArray[np.uint16]]]:
    """Yields slices with 8 bits and with 16 that all carry information: the file, the one and the other."""
    generator = np.random.default_rng(20)
    for folder in sorted((data / "brain-mri" / "Testing").iterdir()):
        for path in sorted(folder.iterdir())[:of_each_class]:
            grey = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"))
            # Half a step of 8 bits and less: the nearest of 256 greys stays the same.
            finer = grey.astype(np.int64) * 257 + generator.integers(-128, 129, grey.shape)
            yield path, grey, np.clip(finer, 0, 65535).astype(np.uint16)


@pytest.mark.data
def test_every_depth_of_a_slice_gets_the_probabilities_of_eight_bits(brain_mri_data: Path) -> None:
    predictor = Predictor.open(load_bundle(RELEASED))
    furthest, too_far = {}, {}
    for path, grey, slice_16 in finer_slices(brain_mri_data, 2):
        of_8_bits = answered(predictor, encode(grey, "PNG"))
        for name, data in stored(slice_16):
            difference = float(np.abs(answered(predictor, data) - of_8_bits).max())
            furthest[f"{path.name}, {name}"] = difference
            if difference > (CLOSE if of_8_bits.max() > SURE else NEAR):
                too_far[f"{path.name}, {name}"] = difference
            assert greys_apart(grey, data) <= 1
    print("Largest difference:", max(furthest.items(), key=lambda item: item[1]))  # noqa: T201 -- docs/images.md
    assert too_far == {}
    assert len(furthest) == 8 * 20


@pytest.mark.data
@pytest.mark.slow
def test_few_slices_move_when_they_are_stored_with_more_bits(brain_mri_data: Path) -> None:
    """The figures of docs/images.md: 240 slices, each as integers of 10 to 16 bits and as floats."""
    predictor = Predictor.open(load_bundle(RELEASED))
    moved, sure = [], []
    for _, grey, slice_16 in finer_slices(brain_mri_data, 60):
        of_8_bits = answered(predictor, encode(grey, "PNG"))
        files = [data for name, data in stored(slice_16) if name in OF_EVERY_DEPTH]
        assert len(files) == len(OF_EVERY_DEPTH)
        moved.append(max(float(np.abs(answered(predictor, data) - of_8_bits).max()) for data in files))
        sure.append(of_8_bits.max() > SURE)
    differences, of_sure = np.array(moved), np.array(moved)[sure]
    shares = {most: int((differences <= most).sum()) for most in (CLOSE, 0.05, 0.1)}
    print(  # noqa: T201 -- docs/images.md
        f"Of {len(moved)}: {shares}, worst {differences.max():.3f};"
        f" of {len(of_sure)} sure ones: {int((of_sure <= CLOSE).sum())} within {CLOSE}, worst {of_sure.max():.3f}"
    )
    assert len(moved) == 240
    assert shares[CLOSE] >= 0.8 * len(moved)
    assert (of_sure <= CLOSE).mean() >= 0.98


def test_a_slice_of_eight_bits_in_a_wider_file_is_the_same_slice() -> None:
    grey = np.random.default_rng(3).integers(0, 256, (60, 70)).astype(np.uint8)
    grey[0, 0] = 255
    for name, data in stored(grey.astype(np.uint16) * 257):
        assert greys_apart(grey, data) == 0, name


def greys_apart(grey: NDArray[np.uint8], data: bytes) -> int:
    """Returns how many grey levels the network's input differs by from that of the slice in 8 bits."""
    of_8_bits, other = (decode(file).astype(int) for file in (encode(grey, "PNG"), data))
    return int(np.abs(other - of_8_bits).max())


def answered(predictor: Predictor, data: bytes) -> NDArray[np.float64]:
    return np.array(list(predictor.predict(data).probabilities.values()))
