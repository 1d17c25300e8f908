from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.errors import ExtremeAspect, ImageTooLarge, ImageUnreadable, MalformedRequest
from brainmri.imaging import HEAD_BYTES, DecodeLimits, format_of
from brainmri.imaging.nifti import Volume, slice_numbers

LIMITS = DecodeLimits(min_side=4)


def voxels() -> NDArray[np.int16]:
    """Returns `[8, 10, 20]`, to the right, the front and the head; each value tells its place."""
    right, front, up = np.meshgrid(np.arange(8), np.arange(10), np.arange(20), indexing="ij")
    return np.asarray(right + 10 * front + 100 * up, np.int16)


def write(path: Path, values: NDArray[np.generic], affine: NDArray[np.generic] | None = None) -> Path:
    nifti: Any = nibabel
    nifti.save(nifti.Nifti1Image(values, np.diag([1.0, 1, 2, 1]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_is_told_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    assert format_of(write(tmp_path / name, voxels()).read_bytes()[:HEAD_BYTES]) == "NIfTI"


def test_an_axial_slice_has_the_forehead_up_and_the_right_side_on_the_left(tmp_path: Path) -> None:
    picture = Volume(write(tmp_path / "a.nii.gz", voxels())).picture(3, LIMITS)
    # From the foremost row to the hindmost, and in each from the patient's right to the left.
    values = 300 + np.arange(90, -1, -10)[:, np.newaxis] + np.arange(7, -1, -1)
    assert np.array_equal(picture.pixels, np.rint(values * 255 / 2047))
    source = picture.source
    assert (source.format, source.mode, source.frames, source.frame) == ("NIfTI", "int16", 20, 3)
    assert (source.scaling.rule, source.scaling.high, source.bits) == ("bit_length", 2047, 11)


def test_a_volume_stored_in_another_order_gives_the_same_slices(tmp_path: Path) -> None:
    straight = Volume(write(tmp_path / "a.nii", voxels()))
    # Sagittal, from the head to the feet: axes to the front, down and to the left.
    affine = np.array([[0, 0, -1, 7], [1, 0, 0, 0], [0, -2, 0, 38], [0, 0, 0, 1]], float)
    turned = Volume(write(tmp_path / "b.nii", np.ascontiguousarray(voxels().transpose(1, 2, 0)[:, ::-1, ::-1]), affine))
    assert turned.depth == 20
    assert list(slice_numbers(tmp_path / "b.nii", 14)) == list(slice_numbers(tmp_path / "a.nii", 14)) == [3, 10, 17]
    for number in (0, 19):
        assert np.array_equal(straight.picture(number, LIMITS).pixels, turned.picture(number, LIMITS).pixels)


def test_slices_are_taken_at_the_step_around_the_middle_one(tmp_path: Path) -> None:
    volume = write(tmp_path / "a.nii", voxels())
    # 2 mm apart: every second or third is about 5 mm.
    assert list(slice_numbers(volume)) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert list(slice_numbers(volume, step_mm=14)) == [3, 10, 17]
    assert list(slice_numbers(volume, step_mm=0.1)) == list(range(20))


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    volume = Volume(write(tmp_path / "a.nii", voxels(), np.diag([1.0, 2, 2, 1])))
    assert volume.picture(3, LIMITS).pixels.shape == (20, 8)


def test_the_first_of_several_volumes_is_taken(tmp_path: Path) -> None:
    over_time = np.stack([voxels(), voxels() * 0], axis=3)
    assert Volume(write(tmp_path / "a.nii", over_time)).picture(3, LIMITS).pixels.max() > 0


def test_a_slice_is_scaled_as_its_volume_is(tmp_path: Path) -> None:
    values = voxels() * 0
    values[:, :, 0] = 1
    values[:, :, 1] = 2000
    assert Volume(write(tmp_path / "a.nii", values)).picture(0, LIMITS).pixels.max() == 0


def test_bad_volumes_are_refused(tmp_path: Path) -> None:
    good = write(tmp_path / "a.nii", voxels())
    for cut in (100, 400, 1000):
        (tmp_path / "cut.nii").write_bytes(good.read_bytes()[:cut])
        with pytest.raises(ImageUnreadable, match="truncated, damaged"):
            Volume(tmp_path / "cut.nii").picture(0, LIMITS)
    with pytest.raises(ImageUnreadable, match="has 2 axes"):
        Volume(write(tmp_path / "flat.nii", voxels()[:, :, 0]))
    with pytest.raises(MalformedRequest, match="the file has 20 frames"):
        Volume(good).picture(20, LIMITS)
    with pytest.raises(ExtremeAspect, match="8x10 pixels"):
        Volume(good).picture(0, DecodeLimits())


def test_a_header_that_declares_a_huge_volume_is_refused_before_its_voxels_are_read(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.nii", voxels()).read_bytes())
    data[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(data)
    with pytest.raises(ImageTooLarge, match="4000x4000x4000 voxels"):
        Volume(tmp_path / "huge.nii")
