import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from brainmri.errors import ImageUnreadable
from brainmri.imaging import HEAD_BYTES, FrameOf, files_of_directory, format_of, frames_of
from tests.imaging import dicom_samples
from tests.imaging.dicom_samples import dataset, file, twelve_bits
from tests.imaging.samples import every_kind

DIRECTORY = "1.2.840.10008.1.3.10"


def directory(*references: Any) -> bytes:
    """Returns a DICOMDIR that lists files."""
    ds = Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(dicom_samples.EXPLICIT)
    ds.SOPClassUID, ds.SOPInstanceUID = UID(DIRECTORY), "1.2.3"
    records = [Dataset()]
    for reference in references:
        records.append(Dataset())
        with pydicom.config.disable_value_validation():
            records[-1].ReferencedFileID = reference
    ds.DirectoryRecordSequence = records
    return file(ds)


@pytest.mark.parametrize("name", every_kind())
def test_a_picture_is_told_by_its_first_bytes(name: str) -> None:
    expected = name.partition("-")[0].upper().replace("MPO", "JPEG")
    assert format_of(every_kind()[name][:HEAD_BYTES]) == expected


@pytest.mark.parametrize("data", [b"", b"BM is short for bitmap", b"GIF", b"%PDF-1.7", b"\x1f\x8bno gzip", b"\0" * 512])
def test_other_files_are_of_no_format(data: bytes) -> None:
    assert format_of(data) is None


@pytest.mark.parametrize("syntax", [dicom_samples.IMPLICIT, dicom_samples.BIG_ENDIAN, dicom_samples.DEFLATED])
def test_the_frames_of_an_object_share_its_digests(syntax: str) -> None:
    two = dataset(np.stack([twelve_bits()] * 2), syntax, SeriesInstanceUID="1.2.3.5")
    first, second = frames_of(io.BytesIO(file(two)))
    assert (first.frame, second.frame) == (0, 1)
    assert first.series == second.series != first.instance == second.instance
    other = dataset(twelve_bits(), SOPInstanceUID="1.2.3.6", SeriesInstanceUID="1.2.3.5")
    (third,) = frames_of(io.BytesIO(file(other)))
    assert (third.frame, third.series) == (None, first.series)
    assert third.instance != first.instance


def test_an_identifier_is_told_by_its_digest_alone() -> None:
    (only,) = frames_of(io.BytesIO(file(dataset(twelve_bits()))))
    # printf 1.2.3.4 | sha256sum | cut -c1-20
    assert only == FrameOf(None, "6694f83c9f476da31f5d", None)


def test_listing_reads_no_pixels() -> None:
    data = file(dataset(np.zeros((2, 2000, 2000), np.uint16)))
    stream = io.BytesIO(data)
    assert len(frames_of(stream)) == 2
    assert stream.tell() < 2**20 + 4096 < len(data)


def test_a_picture_is_one_frame() -> None:
    assert frames_of(io.BytesIO(every_kind()["tiff"])) == [FrameOf()]


def test_a_dicomdir_gives_the_paths_of_its_files() -> None:
    assert files_of_directory(directory(["A", "B", "IM1"], "IM2")) == ["A/B/IM1", "IM2"]


def test_another_object_is_no_dicomdir() -> None:
    assert files_of_directory(file(dataset(twelve_bits()))) is None
    assert files_of_directory(b"\x89PNG\r\n\x1a\n") is None


@pytest.mark.parametrize("reference", [["..", "secret"], ["/etc", "passwd"]])
def test_a_dicomdir_that_leads_out_of_its_folder_is_refused(reference: list[str]) -> None:
    with pytest.raises(ImageUnreadable, match="outside of its folder"):
        files_of_directory(directory(reference))


def test_an_object_cut_before_its_number_of_frames_counts_as_one_and_a_damaged_beginning_is_refused() -> None:
    data = file(dataset(np.stack([twelve_bits()] * 2), SeriesInstanceUID="1.2.3.5"))
    assert len(frames_of(io.BytesIO(data[: data.index(b"1.2.3.5")]))) == 1
    with pytest.raises(ImageUnreadable, match="ends within its file meta information"):
        frames_of(io.BytesIO(data[:150]))
