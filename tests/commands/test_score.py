import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pydicom
import pytest
from highdicom.sr import ComprehensiveSR

from brainmri.bulk.heat_maps import HeatMapFolder
from brainmri.bulk.items import item_id
from brainmri.bulk.run_folder import RunFolder
from brainmri.model.contract import NOTICE
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import grey_map
from brainmri.model.predictor import Predictor
from tests.bulk.stand_in import BLACK, BLUE, GREEN, RED, picture
from tests.dicom.samples import INSTANCE, slice_of_study
from tests.tiny import write_tiny_bundle

Run = Callable[..., tuple[int, str, str]]

LABEL_OF = {"glioma": RED, "meningioma": GREEN, "notumor": BLACK, "pituitary": BLUE}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Eight pictures in folders named after what the tiny model says of them, and a damaged one."""
    for label, colour in LABEL_OF.items():
        (tmp_path / "scans" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "scans" / label / f"{number}.png").write_bytes(picture(colour))
    (tmp_path / "scans" / "glioma" / "bad.png").write_bytes(b"no image")
    return tmp_path / "scans"


def rows(folder: Path) -> list[dict[str, Any]]:
    """Returns the results without the time."""
    found: list[dict[str, Any]] = pq.read_table(folder / "results.parquet").drop_columns(["scored_at"]).to_pylist()
    return found


def test_the_heat_map_of_each_answered_image_is_the_one_that_explain_gives(
    score: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_tiny_bundle(tmp_path / "explaining" / "brain_mri_xception", tmp_path / "s", explains=True)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "explaining"))
    assert score(scans, "--out", tmp_path / "run", "--heatmaps", tmp_path / "maps")[0] == 0
    answered = [row for row in rows(tmp_path / "run") if row["error_code"] is None]
    assert len(answered) == 8
    assert {file.name for file in (tmp_path / "maps").iterdir()} == {f"{row['id']}.png" for row in answered}
    predictor = Predictor.open(bundle)
    for row in answered:
        heat = predictor.predict((tmp_path / row["path"]).read_bytes(), Explain()).explained.heat_map
        assert (tmp_path / "maps" / f"{row['id']}.png").read_bytes() == grey_map(heat).png


def test_heat_maps_of_a_model_without_any_are_refused_before_anything_is_scored(
    score: Run, scans: Path, tmp_path: Path
) -> None:
    status, _, err = score(scans, "--out", tmp_path / "run", "--heatmaps", tmp_path / "maps")
    assert status == 2
    assert "carries no heat map" in err
    assert not (tmp_path / "run").exists()


def test_dicom_results_of_each_answered_object_are_those_that_explain_gives(
    score: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_bundle(tmp_path / "explaining" / "brain_mri_xception", tmp_path / "s", explains=True)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "explaining"))
    for number in range(2):
        (tmp_path / f"{number}.dcm").write_bytes(slice_of_study(number + 1))
    (tmp_path / "a.png").write_bytes(picture(RED))
    names = ["0.dcm", "1.dcm", "a.png"]
    assert score(*names, "--out", tmp_path / "run", "--dicom-out", tmp_path / "dicom")[0] == 0
    found = {row["path"]: row for row in rows(tmp_path / "run")}
    assert [found[name]["error_code"] for name in names] == [None, None, "no_dicom_study"]
    kinds = ("capture", "report")
    expected = {f"{found[name]['id']}.{kind}.dcm" for name in names[:2] for kind in kinds}
    assert {file.name for file in (tmp_path / "dicom").iterdir()} == expected
    for number, name in enumerate(names[:2]):
        report, capture = (
            pydicom.dcmread(tmp_path / "dicom" / f"{found[name]['id']}.{kind}.dcm") for kind in ("report", "capture")
        )
        assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{INSTANCE}.{number + 1}"
        content: Any = ComprehensiveSR.from_dataset(report).content
        (group,) = content.get_image_measurement_groups()
        measured = {item.name.value: float(item.value) for item in group.get_measurements()}
        assert measured["P-GLIOMA"] == pytest.approx(found[name]["probability_glioma"], abs=1e-6)


def test_a_model_without_heat_maps_gives_dicom_reports_alone(score: Run, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(slice_of_study())
    assert score("a.dcm", "--out", tmp_path / "run", "--dicom-out", tmp_path / "dicom")[0] == 0
    (row,) = rows(tmp_path / "run")
    assert [file.name for file in (tmp_path / "dicom").iterdir()] == [f"{row['id']}.report.dcm"]


def test_an_id_that_is_no_file_name_is_replaced_by_its_hash(tmp_path: Path) -> None:
    folder = HeatMapFolder(tmp_path)
    assert folder.path_of("a-1.b").name == "a-1.b.png"
    for identity in ("../../etc/passwd", "a/b", ".hidden", "", "x" * 101, "a\n"):
        assert folder.path_of(identity) == tmp_path / f"{item_id(identity)}.png"


def test_a_folder_becomes_a_table_with_a_summary_a_report_and_figures(score: Run, scans: Path, tmp_path: Path) -> None:
    status, out, _ = score("scans", "--out", "out", "--report", "--labels-from", "parent-folder")
    assert status == 0
    assert out.rstrip().endswith(NOTICE)
    assert "image_unreadable" in out
    assert "1.0000 (0.6756 to 1.0000)" in out  # accuracy, of 8
    found = rows(tmp_path / "out")
    assert [row["path"] for row in found[:3]] == ["scans/glioma/0.png", "scans/glioma/1.png", "scans/glioma/bad.png"]
    assert all(row["label"] == row["verdict"] == Path(row["path"]).parent.name for row in found if row["label"])
    assert (found[2]["status"], found[2]["error_code"], found[2]["model"]) == (
        "failed",
        "image_unreadable",
        "brain_mri_xception:0.0.1",
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], summary["failed"], summary["failures"]) == (9, 1, {"image_unreadable": 1})
    assert summary["quality"]["confusion"] == [[2 * (row == column) for column in range(4)] for row in range(4)]
    page = (tmp_path / "out" / "report.html").read_text()
    assert NOTICE in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 6


def test_a_row_says_what_predict_says(score: Run, scans: Path, tmp_path: Path) -> None:
    score("scans/glioma/0.png", "--out", "out")
    (row,) = rows(tmp_path / "out")
    assert row["probability_glioma"] == pytest.approx(1 / (1 + 2 * 2.718281828**-5 + 2.718281828**-4.5), rel=1e-4)
    assert row["confidence"] == row["probability_glioma"]
    assert (row["novelty"], row["runtime"], row["preprocessing_version"]) == (
        None,
        "openvino-f32",
        "pad-bilinear-299-v1",
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_other_formats_hold_the_same_rows(score: Run, scans: Path, tmp_path: Path, form: str) -> None:
    score("scans", "--out", "out", "--format", "parquet")
    status, _, _ = score("merge", "out", "--format", form)
    assert status == 0
    path = tmp_path / "out" / f"results.{form}"
    read = (
        pyarrow.csv.read_csv(path).to_pylist()
        if form == "csv"
        else list(map(json.loads, path.read_text().splitlines()))
    )
    expected = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [row["path"] for row in read] == [row["path"] for row in expected]
    assert [row["probability_glioma"] for row in read] == [
        None if row["probability_glioma"] is None else pytest.approx(row["probability_glioma"]) for row in expected
    ]


def test_a_run_in_a_folder_is_not_begun_again_but_continued(score: Run, scans: Path, tmp_path: Path) -> None:
    score("scans", "--out", "out", "--shard-size", "2")
    first = rows(tmp_path / "out")
    status, _, err = score("scans", "--out", "out")
    assert status == 2
    assert "Continue it with --resume" in err
    kept = (tmp_path / "out" / "parts" / "000001.parquet").stat().st_mtime_ns
    (tmp_path / "out" / "parts" / "000003.parquet").unlink()
    (tmp_path / "out" / "parts" / "000002.parquet").write_bytes(b"half")
    (scans / "glioma" / "later.png").write_bytes(picture(RED))
    assert score("--out", "out", "--resume")[0] == 0
    assert rows(tmp_path / "out") == first
    assert (tmp_path / "out" / "parts" / "000001.parquet").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": ["--batch-size", "3"]}, "batch_size is 8 there and 3 here"),
        ({"arguments": ["--shard-size", "3"]}, "shard_size is 256 there and 3 here"),
        ({"arguments": ["models"]}, "inputs is"),
        ({"environment": {"BRAINMRI_NOVELTY_POLICY": "pass"}}, "novelty_policy is 'abstain' there and 'pass' here"),
        ({"preprocessing": "other-v2"}, "preprocessing_version is 'pad-bilinear-299-v1' there and 'other-v2' here"),
        ({"environment": {"BRAINMRI_MAX_IMAGE_PIXELS": "90000"}}, "max_image_pixels is"),
        ({"model": True}, "model is 'brain_mri_xception:0.0.1' there and 'brain_mri_xception:0.0.2' here"),
    ],
)
def test_a_run_is_not_continued_in_another_way(
    score: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    score("scans", "--out", "out")
    if "model" in change:
        write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path, version="0.0.2")
    if "preprocessing" in change:
        monkeypatch.setattr("brainmri.bulk.run_folder.PREPROCESSING_VERSION", change["preprocessing"])
    for name, value in change.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    status, _, err = score(*change.get("arguments", []), "--out", "out", "--resume")
    assert status == 2
    assert message in err


def test_shares_join_to_what_one_run_gives(score: Run, scans: Path, tmp_path: Path) -> None:
    score("scans", "--out", "whole", "--shard-size", "2")
    for index in (2, 0):
        status, out, _ = score(
            "scans", "--out", "out", "--shard-size", "2", "--shard-index", str(index), "--num-shards", "3"
        )
        assert (status, "brainmri score merge out" in out) == (0, True)
    status, _, err = score("merge", "out")
    assert status == 2
    assert "2 of 5 parts are missing: 1, 2." in err
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    score("scans", "--out", "other", "--shard-size", "2", "--shard-index", "1", "--num-shards", "3")
    assert score("merge", "out", "other")[0] == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_a_part_of_other_images_is_not_joined(score: Run, scans: Path, tmp_path: Path) -> None:
    score("scans", "--out", "out", "--shard-size", "3")
    parts = tmp_path / "out" / "parts"
    shutil.copy(parts / "000000.parquet", parts / "000001.parquet")
    status, _, err = score("merge", "out")
    assert status == 2
    assert "Part 1 does not hold the images of the manifest" in err
    table = pq.read_table(parts / "000000.parquet")
    other = table.set_column(table.schema.get_field_index("model"), "model", pa.array(["other:1"] * len(table)))
    pq.write_table(other, parts / "000000.parquet")
    assert "Part 0 has another model" in score("merge", "out")[2]


def test_shares_of_two_runs_are_not_joined(score: Run, scans: Path) -> None:
    score("scans", "--out", "one")
    score("scans/glioma", "--out", "two")
    status, _, err = score("merge", "one", "two")
    assert (status, "The folder holds another run: inputs is" in err) == (2, True)
    assert "holds no run" in score("merge", "models")[2]


def test_exit_statuses(score: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert score("scans/glioma", "--out", "strict", "--strict")[0] == 1
    status, _, err = score("scans/glioma", "--out", "hopeless", "--max-error-rate", "0.2")
    assert (status, "1 of 3 images failed, more than --max-error-rate 0.2 allows" in err) == (42, True)
    assert not (tmp_path / "hopeless" / "_SUCCESS").exists()
    assert score("absent", "--out", "usage")[0] == 2
    assert score("scans", "--out", "usage", "--shard-index", "2", "--num-shards", "2")[0] == 2
    assert score("--out", "usage")[0] == 2
    (tmp_path / "file").touch()
    assert score("scans", "--out", "file/out")[0] == 74

    def interrupt(*_: object) -> Predictor:
        raise KeyboardInterrupt

    monkeypatch.setattr("brainmri.bulk.supervisor.Supervisor.run", interrupt)
    status, _, err = score("scans", "--out", "interrupted")
    assert (status, "Continue with --resume" in err) == (130, True)


def test_two_processes_do_not_score_into_one_folder(score: Run, scans: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path / "out").held(0):
        status, _, err = score("scans", "--out", "out")
    assert status == 2
    assert "Another process is scoring" in err
