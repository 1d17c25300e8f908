"""`brainmri score` of what holds several slices: DICOM of several frames, series, DICOMDIR, NIfTI."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest

from tests.commands.conftest import Run
from tests.http.test_no_tag_is_told import MARK, marked, written
from tests.imaging.dicom_samples import dataset, file, twelve_bits
from tests.imaging.test_contents import directory


def frames(count: int, instance: str, **elements: Any) -> bytes:
    pixels = np.stack([twelve_bits()] * count) if count > 1 else twelve_bits()
    return file(dataset(pixels, SOPInstanceUID=instance, SeriesInstanceUID="1.2.3.5", **elements))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A series of two objects with three slices, a volume, and what is left out."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "IM1").write_bytes(frames(2, "1.2.3.1", SliceLocation=12.5, PatientName="MARK^NAME"))
    (folder / "IM2.dcm").write_bytes(frames(1, "1.2.3.2"))
    (folder / "DICOMDIR").write_bytes(directory(["IM1"]))
    (folder / "notes.txt").write_text("text")
    nifti: Any = nibabel
    values = np.random.default_rng(1).integers(0, 900, (32, 40, 20)).astype(np.int16)
    nifti.save(nifti.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), folder / "v.nii.gz")
    return folder


def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / "results.parquet").to_pylist()
    return found


def test_each_frame_and_each_slice_of_a_volume_is_a_row_and_each_series_has_a_verdict(
    score: Run, study: Path, tmp_path: Path
) -> None:
    status, out, _ = score(study, "--step-mm", "14", "--out", tmp_path / "run", "--report")
    assert status == 0
    found = rows(tmp_path / "run")
    assert [(Path(row["path"]).name, row["frame"], row["status"]) for row in found] == [
        ("IM1", 0, "ok"),
        ("IM1", 1, "ok"),
        ("IM2.dcm", None, "ok"),
        *(("v.nii.gz", number, "ok") for number in (3, 10, 17)),
    ]
    assert len({row["id"] for row in found}) == 6
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    verdict = found[0]["verdict"]
    assert summary["series"][found[0]["series"]] == {
        "verdict": verdict,
        "slices": 3,
        "answered": 3,
        "votes": {verdict: 3},
    }
    assert len(summary["series"]) == 2
    assert summary["left_out_reasons"] == {"dicomdir": 1, "other_kind": 1}
    assert f"Series {found[0]['series']}: {verdict}. Of 3 slices 3 have a class: {verdict} 3." in out
    assert found[0]["series"] in (tmp_path / "run" / "report.html").read_text()
    assert "1.2.3" not in json.dumps(found, default=str) + out + json.dumps(summary)


def test_predict_and_score_take_the_same_of_a_folder(
    score: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from brainmri.commands.cli import main  # noqa: PLC0415

    assert score(study, "--out", tmp_path / "run")[0] == 0
    monkeypatch.setattr("sys.argv", ["brainmri", "predict", "--json", str(study)])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    lines = [line for line in map(json.loads, out.splitlines()) if "file" in line]
    keys = ("frame", "instance", "series", "verdict")
    assert [(line["file"], *(line.get(key) for key in keys)) for line in lines] == [
        (row["path"], *(row[key] for key in keys)) for row in rows(tmp_path / "run")
    ]
    assert f"{study}: Left out, 1: the name ends like that of another kind of file." in err


def test_a_dicomdir_is_scored_as_what_it_lists(score: Run, study: Path, tmp_path: Path) -> None:
    assert score(study / "DICOMDIR", "--out", tmp_path / "run")[0] == 0
    assert [(row["path"], row["frame"]) for row in rows(tmp_path / "run")] == [(f"{study}/IM1", 0), (f"{study}/IM1", 1)]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_tags_that_are_named_are_columns_and_no_others(score: Run, study: Path, tmp_path: Path, form: str) -> None:
    arguments = ("--out", tmp_path / "run", "--format", form, "--tags", "SliceLocation,StudyDate")
    assert score(study / "IM1", study / "IM2.dcm", study / "v.nii.gz", *arguments)[0] == 0
    text = (tmp_path / "run" / f"results.{form}").read_bytes()
    assert b"MARK" not in text
    if form == "jsonl":
        found = [json.loads(line) for line in text.splitlines()]
        assert [row["SliceLocation"] for row in found[:4]] == ["12.5", "12.5", None, None]
        assert {row["StudyDate"] for row in found} == {None}
        assert list(found[0])[-2:] == ["SliceLocation", "StudyDate"]
    elif form == "csv":
        assert text.splitlines()[0].endswith(b'"SliceLocation","StudyDate"')
    status, _, err = score("--out", tmp_path / "run", "--resume", "--tags", "StudyDate")
    assert (status, "tags is" in err) == (2, True)


def test_a_tag_that_is_none_is_refused(score: Run, study: Path, tmp_path: Path) -> None:
    status, _, err = score(study, "--out", tmp_path / "run", "--tags", "PixelData")
    assert (status, "'PixelData' is not a keyword" in err, (tmp_path / "run").exists()) == (2, True, False)


def test_another_part_of_the_body_is_a_failed_row_unless_it_is_forced(score: Run, tmp_path: Path) -> None:
    (tmp_path / "knee.dcm").write_bytes(frames(2, "1.2.3.1", BodyPartExamined="KNEE"))
    assert score(tmp_path / "knee.dcm", "--out", tmp_path / "run")[0] == 0
    assert [row["error_code"] for row in rows(tmp_path / "run")] == ["not_brain_mr"] * 2
    assert score(tmp_path / "knee.dcm", "--out", tmp_path / "forced", "--force")[0] == 0
    assert [row["error_code"] for row in rows(tmp_path / "forced")] == [None, None]


def test_dicom_results_of_a_frame_refer_to_it(score: Run, tmp_path: Path) -> None:
    (tmp_path / "two.dcm").write_bytes(frames(2, "1.2.3.1", StudyInstanceUID="1.2.3.9"))
    assert score(tmp_path / "two.dcm", "--out", tmp_path / "run", "--dicom-out", tmp_path / "dicom")[0] == 0
    referred = []
    for row in rows(tmp_path / "run"):
        report = pydicom.dcmread(tmp_path / "dicom" / f"{row['id']}.report.dcm")
        referred += [int(one.ReferencedFrameNumber) for one in _images(report)]
    assert set(referred) == {1, 2}


def _images(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    found = [one for one in item.get("ReferencedSOPSequence", []) if "ReferencedFrameNumber" in one]
    for content in item.get("ContentSequence", []):
        found += _images(content)
    return found


def test_no_element_of_an_object_is_in_anything_that_a_run_writes(score: Run, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    data = written(marked())
    assert data.count(MARK.encode()) > 1000
    (tmp_path / "scans" / "IM1").write_bytes(data)
    (tmp_path / "scans" / "IM2").write_bytes(data[:-300])
    status, out, err = score("scans", "--out", "run", "--report", "--format", "csv")
    contents = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    contents |= {Path("stdout"): out.encode(), Path("stderr"): err.encode()}
    for path in (tmp_path / "run").rglob("*.parquet"):
        # Its pages are compressed.
        contents[path] += str(pq.read_table(path).to_pylist()).encode()
    assert (status, len(contents) > 6) == (0, True)
    assert {path.name for path, content in contents.items() if MARK.encode() in content} == set()


def test_a_run_is_not_continued_with_another_step(score: Run, study: Path, tmp_path: Path) -> None:
    volume, out = study / "v.nii.gz", tmp_path / "run"
    assert score(volume, "--step-mm", "14", "--out", out)[0] == 0
    status, _, err = score(volume, "--step-mm", "4", "--out", out, "--resume")
    assert status == 2
    assert "step_mm" in err
    assert len(rows(out)) == 3
