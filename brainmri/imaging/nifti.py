"""NIfTI volumes as axial slices: for the command line, which reads files of its user's own.

A volume is scaled as a whole, or else its empty slices would be stretched to noise.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import ImageTooLarge, ImageUnreadable, InvalidInput
from brainmri.imaging.greys import finite, scaling_of, significant_bits
from brainmri.imaging.limits import DecodeLimits, no_such_frame
from brainmri.imaging.picture import Picture, SourceImage
from brainmri.imaging.pixels import scaled_greys

MAX_VOXELS = 512**3
"""Largest volume that is read; its values take up to 8 bytes each."""

STEP_MM = 5.0
"""Distance of the slices that are taken of a volume, in millimetres; about the slice distance of clinical MRI."""

_HEADERS = {348: (344, (b"n+1\0",)), 540: (4, (b"n+2\0",))}
"""Size of a header to where its magic number is; those of pairs of files (`ni1`) have their voxels elsewhere."""

_SQUARE = 0.01
_DAMAGED = (
    "The NIfTI volume is truncated, damaged or of an unsupported kind. Name the whole, intact .nii or .nii.gz file."
)


def is_nifti(head: bytes) -> bool:
    """Tells whether a file is a NIfTI volume in one file, by its first 512 bytes; compressed by gzip or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 512)
        except zlib.error:
            return False
    if len(head) < 8:
        return False
    for order in "<>":
        at, magics = _HEADERS.get(struct.unpack_from(order + "i", head)[0], (0, ()))
        if magics and head[at : at + 4] in magics:
            return True
    return False


def slice_numbers(path: Path, step_mm: float = STEP_MM) -> range:
    """Returns which axial slices are taken of a volume, from the feet to the head, evenly around the middle one.

    Args:
        path: Of a `.nii` or `.nii.gz` file; its header alone is read.
        step_mm: Distance of the slices, at least that of the volume's own.

    Raises:
        ImageTooLarge, ImageUnreadable: As in `Volume`.
    """
    with _refusing_damage():
        image = _opened(path)
        _, order, sizes = _axes(image)
        depth = int(image.shape[order[2]])
    step = max(1, round(step_mm / sizes[2]))
    return range((depth // 2) % step, depth, step)


class Volume:
    """One NIfTI file, its voxels in memory.

    Args:
        path: Of a `.nii` or `.nii.gz` file.

    Attributes:
        depth: How many axial slices it has.

    Raises:
        ImageTooLarge: More than `MAX_VOXELS`.
        ImageUnreadable: It is damaged, or has another number of axes than 3 or 4.
    """

    def __init__(self, path: Path) -> None:
        with _refusing_damage():
            self._values, self._zooms = _axial(path)
        self.depth = self._values.shape[2]
        self._scaling = scaling_of(self._values)

    def picture(self, number: int, limits: DecodeLimits) -> Picture:
        """Returns one axial slice as radiologists show it: the forehead up, the patient's right side on the left.

        Args:
            number: Of the slice, from 0 at the feet.
            limits: What to refuse, by the slice's sides.

        Raises:
            MalformedRequest: There is no such slice.
            ImageTooLarge, ExtremeAspect: As for every picture.
        """
        if not 0 <= number < self.depth:
            raise no_such_frame(number, self.depth)
        values = self._values[::-1, ::-1, number].T
        height, width = self._square_size(values)
        limits.check_geometry(width, height)
        converted = scaled_greys(np.ascontiguousarray(values), self._scaling)
        pixels = converted.pixels
        if pixels.shape != (height, width):
            pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
        bits = significant_bits(values, self._scaling)
        source = SourceImage("NIfTI", str(self._values.dtype), bits, self.depth, number, self._scaling)
        return Picture(pixels, source)

    def _square_size(self, values: NDArray[np.generic]) -> tuple[int, int]:
        """Returns height and width with pixels that are square."""
        height, width = values.shape
        across, along = self._zooms[:2]
        if abs(across - along) <= _SQUARE * max(across, along):
            return height, width
        least = min(across, along)
        return round(height * along / least), round(width * across / least)


@contextmanager
def _refusing_damage() -> Iterator[None]:
    try:
        yield
    except (InvalidInput, MemoryError):
        raise
    except Exception as error:
        # nibabel documents no list of what it raises.
        raise ImageUnreadable(_DAMAGED) from error


def _opened(path: Path) -> Any:
    """Returns a volume whose header has been read, and no voxel."""
    import nibabel  # noqa: PLC0415 -- most users never see NIfTI

    image: Any = nibabel.load(path)
    shape = tuple(int(side) for side in image.shape)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ImageUnreadable(f"The NIfTI volume has {len(shape)} axes; 3, or 4 with time, are read.", limit="3 axes")
    if np.prod(shape[:3], dtype=np.int64) > MAX_VOXELS:
        raise ImageTooLarge(
            f"The NIfTI volume has {'x'.join(map(str, shape))} voxels; at most {MAX_VOXELS} are read. Crop it first.",
            limit=f"{MAX_VOXELS} voxels",
        )
    return image


def _axes(image: Any) -> tuple[NDArray[np.float64], list[int], tuple[float, float, float]]:
    """Returns nibabel's orientation, and the axes to the patient's right, front and head with their voxels' sizes."""
    orientations = _orientations()
    orientation: NDArray[np.float64] = orientations.io_orientation(image.affine)[:3]
    order = [int(axis) for axis in np.argsort(orientation[:, 0])]
    zooms = np.abs(np.asarray(image.header.get_zooms()[:3], float))
    sizes = [float(zooms[axis]) if np.isfinite(zooms[axis]) and zooms[axis] > 0 else 1.0 for axis in order]
    return orientation, order, (sizes[0], sizes[1], sizes[2])


def _orientations() -> Any:
    from nibabel import orientations  # noqa: PLC0415 -- without types

    return orientations


def _axial(path: Path) -> tuple[NDArray[np.generic], tuple[float, float, float]]:
    """Returns the voxels with axes to the patient's right, front and head, and their sizes in millimetres."""
    image = _opened(path)
    # Of several volumes over time, the first.
    values = finite(np.asarray(image.dataobj[..., 0] if len(image.shape) == 4 else image.dataobj))
    orientation, _, sizes = _axes(image)
    return np.asarray(_orientations().apply_orientation(values, orientation)), sizes
