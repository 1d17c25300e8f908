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


@pytest.mark.data
def test_every_depth_of_a_slice_gets_the_probabilities_of_eight_bits(brain_mri_data: Path) -> None:
    predictor = Predictor.open(load_bundle(RELEASED))
    generator = np.random.default_rng(20)
    furthest, too_far = {}, {}
    for folder in sorted((brain_mri_data / "brain-mri" / "Testing").iterdir()):
        for path in sorted(folder.iterdir())[:2]:
            grey = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("L"))
            # Half a step of 8 bits and less: the nearest of 256 greys stays the same.
            finer = grey.astype(np.int64) * 257 + generator.integers(-128, 129, grey.shape)
            slice_16 = np.clip(finer, 0, 65535).astype(np.uint16)
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
