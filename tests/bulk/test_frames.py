import io
import tarfile
import weakref
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import nibabel
import numpy as np
import pytest

from brainmri.blocking import Stop
from brainmri.bulk.archives.archive import ArchiveLimits, open_archive
from brainmri.bulk.chosen import Choice
from brainmri.bulk.frames import Taken
from brainmri.bulk.inputs import Inputs
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.jobs.inputs import RootInputs
from brainmri.bulk.manifest import Division, Manifest, freeze
from brainmri.bulk.sources import Retry, Sources
from brainmri.bulk.uploads import uploaded_items
from brainmri.errors import ArchiveTooLarge, ImageUnreadable
from brainmri.imaging import Picture
from brainmri.imaging.nifti import Volume
from tests.imaging.dicom_samples import dataset, file, twelve_bits
from tests.imaging.test_contents import directory


def two_frames(instance: str = "1.2.3.4") -> bytes:
    frames = np.stack([twelve_bits(), twelve_bits() // 2])
    return file(dataset(frames, SOPInstanceUID=instance, SeriesInstanceUID="1.2.3.5"))


def one_frame(instance: str = "1.2.3.6") -> bytes:
    return file(dataset(twelve_bits(), SOPInstanceUID=instance, SeriesInstanceUID="1.2.3.5"))


def volume(path: Path) -> Path:
    nifti: Any = nibabel
    values = np.random.default_rng(1).integers(0, 900, (32, 40, 20)).astype(np.int16)
    nifti.save(nifti.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), path)
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with two objects of one series, a volume, a picture and a text."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "IM1").write_bytes(two_frames())
    (folder / "IM2.dcm").write_bytes(one_frame())
    (folder / "p.png").write_bytes(b"no image")
    (folder / "notes.txt").write_bytes(b"text")
    volume(folder / "v.nii.gz")
    return folder


def listed(*inputs: Path, taken: Taken = Taken(step_mm=14)) -> list[Item]:  # noqa: B008 -- immutable
    return list(Inputs(map(str, inputs), ArchiveLimits(), taken=taken))


def named(items: list[Item]) -> list[tuple[str, int | None]]:
    return [(Path(item.path).name, item.frame) for item in items]


def test_a_folder_gives_an_item_for_each_frame_and_each_slice_of_a_volume(study: Path) -> None:
    items = listed(study)
    frames = [("IM1", 0), ("IM1", 1), ("IM2.dcm", None), ("p.png", None)]
    assert named(items) == [*frames, ("v.nii.gz", 3), ("v.nii.gz", 10), ("v.nii.gz", 17)]
    first, second, other, picture, *slices = items
    assert first.series == second.series == other.series is not None
    assert first.instance == second.instance != other.instance
    assert (picture.instance, picture.series) == (None, None)
    assert len({item.series for item in slices}) == 1
    assert slices[0].series not in (None, first.series)
    assert len({item.id for item in items}) == 7
    assert (other.id, second.id) == (item_id(other.path), item_id(second.path, 1))


def test_one_frame_may_be_asked_for_alone(study: Path) -> None:
    assert named(listed(study / "IM1", study / "p.png", study / "v.nii.gz", taken=Taken(frame=1))) == [
        ("IM1", 1),
        ("p.png", 1),
        ("v.nii.gz", 1),
    ]


def test_without_frames_each_file_is_one_item_and_a_volume_is_left_out(study: Path) -> None:
    inputs = Inputs([str(study)], ArchiveLimits())
    assert named(list(inputs)) == [("IM1", None), ("IM2.dcm", None), ("p.png", None)]
    assert inputs.left_out == {"other_kind": 1, "volume": 1}


def test_every_slice_is_read_with_the_hash_of_its_file(study: Path) -> None:
    items = listed(study / "IM1", study / "v.nii.gz")
    sources = Sources(ArchiveLimits(), Retry())
    loaded = [sources.prepare(item)() for item in items]
    assert [image.data for image in loaded[:2]] == [(study / "IM1").read_bytes()] * 2
    slices = [image.data for image in loaded[2:] if isinstance(image.data, Picture)]
    assert [(one.source.format, one.source.frame) for one in slices] == [("NIfTI", 3), ("NIfTI", 10), ("NIfTI", 17)]
    assert [len({image.sha256 for image in part}) for part in (loaded[:2], loaded[2:])] == [1, 1]
    assert not np.array_equal(slices[0].pixels, slices[1].pixels)


def test_a_dicomdir_gives_the_slices_of_what_it_lists(study: Path) -> None:
    (study / "DICOMDIR").write_bytes(directory(["IM1"], ["IM9"]))
    (study / "dir").mkdir()
    (study / "dir" / "DICOMDIR").write_bytes(one_frame())
    items = listed(study / "DICOMDIR", study / "dir" / "DICOMDIR")
    assert named(items) == [("IM1", 0), ("IM1", 1), ("IM9", None), ("DICOMDIR", None)]
    assert items[0].path == f"{study}/IM1"


def test_a_dicomdir_finds_files_whose_names_a_system_shows_in_lower_case(study: Path) -> None:
    (study / "IM1").rename(study / "im1")
    (study / "DICOMDIR").write_bytes(directory(["IM1"]))
    assert named(listed(study / "DICOMDIR")) == [("im1", 0), ("im1", 1)]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_frames_of_an_archive_are_read_from_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    contents = {"IM1": two_frames(), "s/IM2.dcm": one_frame(), "v.nii.gz": b"volume"}
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in contents.items():
                packed.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, data in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    inputs = Inputs([str(path)], ArchiveLimits(), taken=Taken())
    items = list(inputs)
    assert named(items) == [("IM1", 0), ("IM1", 1), ("IM2.dcm", None)]
    assert inputs.left_out == {"volume": 1}
    sources = Sources(ArchiveLimits(), Retry())
    assert [sources.prepare(item)().data for item in items] == [two_frames(), two_frames(), one_frame()]
    sources.close()


def test_a_volume_is_let_go_after_its_last_slice(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[Volume]] = []

    def counted(path: Path) -> Volume:
        volume = Volume(path)
        read.append(weakref.ref(volume))
        return volume

    monkeypatch.setattr("brainmri.bulk.volumes.Volume", counted)
    *_, picture, first, second, third = listed(study)
    sources = Sources(ArchiveLimits(), Retry())
    one, two = sources.prepare(first), sources.prepare(second)
    one()
    three, after = sources.prepare(third), sources.prepare(picture)
    for reading in (two, three):
        assert read[0]() is not None
        reading()
    assert read[0]() is None
    after()
    sources.prepare(first)()
    assert read[1]() is not None
    sources.close()
    assert [volume() for volume in read] == [None, None]


def test_what_a_server_takes_is_the_same_without_volumes(study: Path) -> None:
    inputs = RootInputs(study.parent, study, ArchiveLimits(), Stop())
    items = list(inputs)
    assert [(item.path, item.frame) for item in items] == [
        ("study/IM1", 0),
        ("study/IM1", 1),
        ("study/IM2.dcm", None),
        ("study/p.png", None),
    ]
    assert items[1].id == item_id("study/IM1", 1)
    assert inputs.left_out == {"other_kind": 1, "volume": 1}


def test_a_volume_behind_a_url_is_left_out_of_a_folder_and_refused_by_itself(study: Path) -> None:
    system = fsspec.filesystem("memory")
    system.put(f"{study}/", "/study/", recursive=True)
    folder = Inputs(["memory://study"], ArchiveLimits(), taken=Taken())
    assert named(list(folder)) == [("IM1", 0), ("IM1", 1), ("IM2.dcm", None), ("p.png", None)]
    assert folder.left_out == {"other_kind": 1, "volume": 1}
    (item,) = Inputs(["memory://study/v.nii.gz"], ArchiveLimits(), taken=Taken())
    assert item.frame is None
    with pytest.raises(ImageUnreadable, match="read from this machine alone"):
        Sources(ArchiveLimits(), Retry()).prepare(item)()


def test_a_table_names_frames_after_its_ids(study: Path) -> None:
    (study / "list.csv").write_text("path,id\nIM1,one\nIM2.dcm,two\nabsent.dcm,three\n")
    items = listed(study / "list.csv")
    assert [(item.id, item.frame) for item in items] == [("one-0", 0), ("one-1", 1), ("two", None), ("three", None)]


def test_an_object_behind_a_url_is_listed_by_its_frames() -> None:
    fsspec.filesystem("memory").pipe("/frames/IM1", two_frames())
    assert [item.frame for item in Inputs(["memory://frames"], ArchiveLimits(), taken=Taken())] == [0, 1]


def test_a_manifest_keeps_frames(study: Path, tmp_path: Path) -> None:
    items = listed(study)
    freeze(tmp_path / "m.parquet", items, Division(10))
    with Manifest(tmp_path / "m.parquet") as manifest:
        assert manifest.items(0) == items


def test_an_object_that_is_too_small_for_its_frames_is_one_item(tmp_path: Path) -> None:
    lie = dataset(twelve_bits())
    lie.NumberOfFrames = 900_000
    (tmp_path / "IM1").write_bytes(file(lie))
    assert named(listed(tmp_path / "IM1")) == [("IM1", None)]


def test_an_upload_of_more_frames_than_allowed_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.dcm", two_frames())
    with open_archive(packed) as opened:
        assert len(list(uploaded_items(opened, Choice(), 6, is_form=False))) == 6
        with pytest.raises(ArchiveTooLarge, match="more than 5 images, every frame counted") as refused:
            list(uploaded_items(opened, Choice(), 5, is_form=False))
    assert refused.value.limit == "5 images"
