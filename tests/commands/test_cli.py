import json
import os
import re
import runpy
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from brainmri import __version__
from brainmri.bulk.place import Place
from brainmri.commands import cli
from brainmri.lifecycle.desired_state import DesiredState, DesiredStateFile
from brainmri.lifecycle.state import ServerState
from brainmri.model import store
from brainmri.model.bundle import write_bundle
from brainmri.model.contract import Contract
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import Style, overlay_png
from brainmri.model.predictor import Predictor
from tests.bulk.test_frames import two_frames, volume
from tests.commands.conftest import Run, called
from tests.imaging.dicom_samples import dataset, twelve_bits
from tests.imaging.dicom_samples import file as dicom_file
from tests.imaging.test_contents import directory
from tests.tiny import contract_parts, write_openvino, write_tiny_bundle


@pytest.fixture
def run(
    tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs the console script; gives exit status, stdout and stderr."""
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "models"))
    monkeypatch.setenv("BRAINMRI_LOG_FORMAT", "text")
    monkeypatch.setenv("COLUMNS", "200")
    for variable in ("BRAINMRI_HTTP_PORT", "BRAINMRI_GRPC_PORT"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            monkeypatch.setenv(variable, str(probe.getsockname()[1]))

    yield partial(called, monkeypatch, capsys)
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception", ignore_errors=True)


def test_predict_prints_a_row_for_each_file_and_the_disclaimer(
    run: Run, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    (tmp_path / "blue.png").write_bytes(png((0, 0, 255)))
    status, out, err = run("predict", tmp_path / "blue.png")
    assert status == 0
    assert "pituitary" in out
    assert out.rstrip().endswith("never a diagnosis.")
    assert err == ""


def test_a_long_path_stays_in_one_row_and_keeps_its_end(
    run: Run, tmp_path: Path, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ("folder-" * 20) / "blue.png"
    file.parent.mkdir()
    file.write_bytes(png((0, 0, 255)))
    _, out, _ = run("predict", file)
    (row,) = [line for line in out.splitlines() if "blue.png" in line]
    assert str(file) in row
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    _, out, _ = run("predict", file)
    (row,) = [line for line in out.splitlines() if "blue.png" in line]
    assert "│ …older-folder-/blue.png │ pituitary │" in row.replace("\x1b[0m", "")


def test_predict_writes_the_slice_with_its_heat_map(
    run: Run, tmp_path: Path, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_tiny_bundle(tmp_path / "explaining" / "brain_mri_xception", tmp_path / "s", explains=True)
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(tmp_path / "explaining"))
    file, heatmap = tmp_path / "red.png", tmp_path / "heat.png"
    file.write_bytes(png((200, 0, 0), side=299))
    status, out, _ = run("predict", "--json", file, "--heatmap", heatmap, "--label", "glioma", "--palette", "fire")
    body = json.loads(out)
    assert (status, body["explained_label"], body["heatmap"]["max"]) == (0, "glioma", pytest.approx(7.843, abs=1e-3))
    explained = Predictor.open(bundle).predict(file.read_bytes(), Explain("glioma")).explained
    assert heatmap.read_bytes() == overlay_png(explained.pixels, explained.heat_map, Style(palette="fire"))


def test_a_heat_map_needs_one_file_and_a_model_that_has_any(
    run: Run, tmp_path: Path, png: Callable[..., bytes]
) -> None:
    (tmp_path / "red.png").write_bytes(png())
    one = tmp_path / "red.png"
    assert run("predict", one, one, "--heatmap", tmp_path / "h.png")[2] == (
        "brainmri: --heatmap takes one image file, and 2 are named.\n"
    )
    status, _, err = run("predict", one, "--heatmap", tmp_path / "h.png")
    assert status == 2
    assert "brain_mri_xception:0.0.1 carries no heat map" in err
    assert not (tmp_path / "h.png").exists()


def test_one_bad_file_is_a_row_and_exit_status_1(run: Run, tmp_path: Path, png: Callable[..., bytes]) -> None:
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(b"text")
    status, out, _ = run("predict", "--json", tmp_path / "bad.png", tmp_path / "red.png", tmp_path / "none.png")
    bad, red, none = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert (bad["file"], bad["error"]["code"]) == (str(tmp_path / "bad.png"), "image_unreadable")
    assert (red["label"], red["model"]["version"]) == ("glioma", "0.0.1")
    assert none["error"]["message"] == (
        f"{tmp_path / 'none.png'} does not exist. Name a file, a folder, a pattern or a URL."
    )


def test_a_folder_that_cannot_be_listed_is_a_row_and_the_others_are_answered(
    run: Run, tmp_path: Path, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (tmp_path / "red.png").write_bytes(png())

    def refuse(folder: Place) -> None:
        raise PermissionError(13, "Permission denied", folder.path)

    # Root may read everything.
    monkeypatch.setattr("brainmri.bulk.inputs._children", refuse)
    status, out, _ = run("predict", "--json", closed, tmp_path / "red.png")
    first, red = [json.loads(line) for line in out.splitlines()]
    assert (status, red["label"]) == (1, "glioma")
    assert (first["file"], first["error"]["message"]) == (
        str(closed),
        f"{closed} cannot be read: Permission denied. Check its permissions, or leave it out.",
    )


def test_predict_takes_a_frame_and_answers_for_other_modalities_when_forced(run: Run, tmp_path: Path) -> None:
    object_of_ct = tmp_path / "ct"
    object_of_ct.write_bytes(dicom_file(dataset(np.stack([twelve_bits()] * 3), Modality="CT")))
    status, out, _ = run("predict", "--json", object_of_ct)
    assert (status, [json.loads(line)["error"]["code"] for line in out.splitlines()]) == (1, ["not_brain_mr"] * 3)
    status, out, _ = run("predict", "--json", "--force", "--frame", "2", object_of_ct)
    image = json.loads(out)["image"]
    assert (status, image["format"], image["frames"], image["frame"]) == (0, "DICOM", 3, 2)


def test_predict_answers_for_each_frame_of_a_folder_and_for_its_series(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    for number in (1, 2):
        ds = dataset(np.stack([twelve_bits()] * 2), SOPInstanceUID=f"1.2.3.{number}", SeriesInstanceUID="1.2.4")
        (folder / f"{number:08}").write_bytes(dicom_file(ds))
    (folder / "report.txt").write_text("no image")
    status, out, _ = run("predict", "--json", folder)
    *rows, series = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [(Path(row["file"]).name, row["frame"]) for row in rows] == [
        ("00000001", 0),
        ("00000001", 1),
        ("00000002", 0),
        ("00000002", 1),
    ]
    assert len({row["series"] for row in rows}) == 1
    assert [row["instance"] == rows[0]["instance"] for row in rows] == [True, True, False, False]
    verdict = rows[0]["verdict"]
    assert series == {
        "series": rows[0]["series"],
        "verdict": verdict,
        "slices": 4,
        "answered": 4,
        "votes": {verdict: 4},
    }
    assert "1.2." not in out


def test_predict_tells_the_tags_that_are_named_and_no_others(run: Run, tmp_path: Path) -> None:
    ds = dataset(twelve_bits(), PatientName="MARK^NAME", StudyDescription="MARK study", SliceLocation=12.5)
    (tmp_path / "slice").write_bytes(dicom_file(ds))
    _, out, _ = run("predict", "--json", "--tags", "SliceLocation, StudyDate,StudyDescription", tmp_path / "slice")
    assert json.loads(out)["tags"] == {"SliceLocation": "12.5", "StudyDescription": "MARK study"}
    assert "NAME" not in out
    assert "MARK" not in run("predict", "--json", tmp_path / "slice")[1]
    for bad, said in (("Age", "'Age' is not a keyword"), ("PixelData", "'PixelData' is not a keyword")):
        status, _, err = run("predict", "--json", "--tags", bad, tmp_path / "slice")
        assert (status, said in err) == (2, True)
    assert "Name --json as well" in run("predict", "--tags", "StudyDate", tmp_path / "slice")[2]


def test_predict_answers_for_what_a_dicomdir_lists(run: Run, tmp_path: Path) -> None:
    (tmp_path / "IMAGES").mkdir()
    (tmp_path / "IMAGES" / "IM1").write_bytes(dicom_file(dataset(twelve_bits())))
    (tmp_path / "DICOMDIR").write_bytes(directory(["IMAGES", "IM1"], ["IMAGES", "IM2"]))
    status, out, _ = run("predict", "--json", tmp_path / "DICOMDIR")
    found, missing = [json.loads(line) for line in out.splitlines()]
    assert (status, found["file"], missing["error"]["message"]) == (
        1,
        str(tmp_path / "IMAGES" / "IM1"),
        f"{tmp_path}/IMAGES/IM2 cannot be read: No such file or directory.",
    )


def test_predict_answers_for_slices_of_a_volume(run: Run, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 900, (32, 40, 20)).astype(np.int16)
    nifti: Any = nibabel
    nifti.save(nifti.Nifti1Image(values, np.diag([1.0, 1, 2, 1])), tmp_path / "v.nii.gz")
    status, out, _ = run("predict", "--json", "--step-mm", "10", tmp_path / "v.nii.gz")
    *rows, series = [json.loads(line) for line in out.splitlines()]
    assert (status, [row["frame"] for row in rows], series["slices"]) == (0, [0, 5, 10, 15], 4)
    assert {row["image"]["format"] for row in rows} == {"NIfTI"}


def test_a_folder_without_images_is_a_row_that_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    status, out, _ = run("predict", "--json", tmp_path / "empty")
    assert (status, json.loads(out)["error"]["message"]) == (
        1,
        f"{tmp_path}/empty holds no image. Name images, DICOM objects, NIfTI volumes, or folders of these.",
    )


def test_models_are_imported_listed_and_exported(run: Run, tmp_path: Path) -> None:
    tag = "brain_mri_xception:0.0.1"
    assert run("models", "import", tmp_path / "models" / "brain_mri_xception") == (0, tag + "\n", "")
    assert tag in run("models", "list")[1]
    target = tmp_path / "out.bentomodel"
    assert run("models", "export", tag, target) == (0, f"{target}\n", "")
    assert run("models", "import", target) == (0, tag + "\n", "")


def test_an_expected_error_is_one_line_and_exit_status_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_MODELS", "nobody:1")
    status, out, err = run("serve")
    assert (status, out) == (2, "")
    assert err.startswith("brainmri: The store has no model 'nobody:1'.")
    assert err.count("\n") == 1


@pytest.fixture
def desired(run: Run, bentoml_home: Path, tmp_path: Path) -> Iterator[DesiredStateFile]:
    """What a running server serves: version 0.0.1; 0.0.2 is in the store too."""
    for version in ("0.0.1", "0.0.2"):
        store.import_bundle(write_tiny_bundle(tmp_path / version, tmp_path, version=version).folder)
    state = ServerState(bentoml_home, int(os.environ["BRAINMRI_HTTP_PORT"]))
    state.claim()
    file = state.desired
    file.write(DesiredState(("brain_mri_xception:0.0.1",)))
    yield file
    shutil.rmtree(bentoml_home / "brainmri")


def test_activating_tells_the_server_and_the_user_how_to_look(run: Run, desired: DesiredStateFile) -> None:
    status, out, err = run("models", "activate", "brain_mri_xception:latest")
    assert (status, err) == (0, "")
    assert out.startswith("Workers load brain_mri_xception:0.0.2 now")
    assert "GET /model shows which one answers" in out
    assert desired.read() == DesiredState(("brain_mri_xception:0.0.1",), "brain_mri_xception:0.0.2")


def wrong_hash(stored: Path, _: Path) -> None:
    (stored / "openvino-f32" / "model.bin").write_bytes(b"altered")


def truncated(stored: Path, _: Path) -> None:
    path = stored / "openvino-f32" / "model.xml"
    path.write_bytes(path.read_bytes()[:100])


def wrong_shape(stored: Path, scratch: Path) -> None:
    artefacts = {"openvino-f32": write_openvino(scratch / "three", classes=3)}
    contract = Contract.from_parts(**contract_parts(version="0.0.2"))
    bundle = write_bundle(scratch / "wrong", contract, artefacts, {}, "")
    shutil.copytree(bundle.folder, stored, dirs_exist_ok=True)


def other_preprocessing(stored: Path, scratch: Path) -> None:
    spec = {**contract_parts()["input"], "preprocessing_version": "pad-lanczos-299-v9"}
    bundle = write_tiny_bundle(scratch / "wrong", scratch, version="0.0.2", input=spec)
    shutil.copytree(bundle.folder, stored, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (wrong_hash, "was altered"),
        (truncated, "was altered"),
        (wrong_shape, "lacks outputs of shape"),
        (other_preprocessing, "was trained with the preprocessing"),
    ],
)
def test_a_broken_bundle_is_not_activated(
    run: Run,
    desired: DesiredStateFile,
    bentoml_home: Path,
    tmp_path: Path,
    damage: Callable[[Path, Path], None],
    sentence: str,
) -> None:
    damage(bentoml_home / "models" / "brain_mri_xception" / "0.0.2", tmp_path)
    status, out, err = run("models", "activate", "brain_mri_xception:0.0.2")
    assert (status, out) == (2, "")
    assert err.startswith("brainmri: ")
    assert sentence in err
    assert desired.read() == DesiredState(("brain_mri_xception:0.0.1",))


def test_a_model_that_is_not_in_the_store_is_not_activated(run: Run, desired: DesiredStateFile) -> None:
    status, _, err = run("models", "activate", "brain_mri_xception:9.9.9")
    assert (status, err.startswith("brainmri: The store has no model 'brain_mri_xception:9.9.9'.")) == (2, True)
    assert desired.read() == DesiredState(("brain_mri_xception:0.0.1",))


def test_of_several_servers_the_one_of_the_given_port_is_told(
    run: Run, desired: DesiredStateFile, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag, here = "brain_mri_xception:0.0.2", os.environ["BRAINMRI_HTTP_PORT"]
    other = ServerState(bentoml_home, 1)
    other.claim()
    other.desired.write(DesiredState(("brain_mri_xception:0.0.1",)))
    monkeypatch.delenv("BRAINMRI_HTTP_PORT")
    status, out, err = run("models", "activate", tag)
    assert (status, out) == (2, "")
    assert err == (
        f"brainmri: Several servers are running with BENTOML_HOME={bentoml_home}. Those that run: port 1 (process"
        f" {os.getpid()}), port {here} (process {os.getpid()}). Name one of them, such as: brainmri models activate"
        f" {tag} --port 1\n"
    )
    assert run("models", "activate", tag, "--port", here)[0] == 0
    assert desired.read() == DesiredState(("brain_mri_xception:0.0.1",), tag)
    assert other.desired.read() == DesiredState(("brain_mri_xception:0.0.1",))


def test_a_port_on_which_no_server_runs_is_answered_with_those_that_run(run: Run, desired: DesiredStateFile) -> None:
    here = os.environ["BRAINMRI_HTTP_PORT"]
    status, _, err = run("models", "activate", "brain_mri_xception:0.0.2", "--port", "1")
    assert status == 2
    assert err.startswith("brainmri: No server of port 1 is running with BENTOML_HOME=")
    assert f"Those that run: port {here} (process {os.getpid()})." in err
    assert desired.read() == DesiredState(("brain_mri_xception:0.0.1",))


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line that `brainmri serve` would become."""
    command: list[str] = []

    def stop(module: str, **_: object) -> None:
        assert module == "bentoml"
        command.extend(sys.argv)

    monkeypatch.setattr(runpy, "run_module", stop)
    # So that what the command changes is changed back.
    for name in ("BRAINMRI_ASKED_MODELS", "BRAINMRI_BUNDLES", "BRAINMRI_HTTP_HOST", "BENTOML_CONTAINERIZED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("BRAINMRI_HTTP_HOST", "127.0.0.1")
    monkeypatch.setenv("BRAINMRI_MODELS", "brain_mri_xception:latest")
    return command


def test_serve_names_the_released_version_to_the_server(run: Run, tmp_path: Path, replaced: list[str]) -> None:
    store.import_bundle(write_tiny_bundle(tmp_path / "later", tmp_path, version="0.0.2").folder)
    port = os.environ["BRAINMRI_HTTP_PORT"]
    status, _, err = run("serve")
    assert status == 0
    assert err.endswith(f"brainmri.commands.cli: Starting brain_mri_xception:0.0.1 on 127.0.0.1:{port}\n")
    assert os.environ["BRAINMRI_MODELS"] == "brain_mri_xception:0.0.1"
    assert os.environ["BRAINMRI_ASKED_MODELS"] == "brain_mri_xception:latest"
    assert replaced[-8:] == [
        *("--host", "127.0.0.1", "--port", port),
        *("--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "1"),
    ]


def test_serve_runs_the_service_of_this_checkout_wherever_it_is_called(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[str]
) -> None:
    (tmp_path / "service.py").write_text("raise SystemExit('foreign code')")
    monkeypatch.chdir(tmp_path)
    assert run("serve")[0] == 0
    assert Path(replaced[replaced.index("--working-dir") + 1]) == Path(__file__).parents[2]


def test_relative_paths_are_those_of_the_caller_in_every_worker(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINMRI_API_KEYS_FILE", "keys.txt")
    monkeypatch.setenv("BRAINMRI_JOBS_DIR", "state/jobs")
    assert run("serve")[0] == 0
    assert os.environ["BRAINMRI_API_KEYS_FILE"] == str(tmp_path / "keys.txt")
    assert os.environ["BRAINMRI_JOBS_DIR"] == str(tmp_path / "state" / "jobs")
    assert "BRAINMRI_SPOOL_DIR" not in os.environ


def test_without_a_service_file_serve_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: list[str]
) -> None:
    monkeypatch.setattr(cli, "_ROOT", tmp_path)
    status, out, err = run("serve")
    assert (status, out, replaced) == (2, "", [])
    assert err.splitlines()[-1].startswith(f"brainmri: {tmp_path} holds no service.py.")


def test_the_help_names_every_command(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert re.findall(r"^│ ([a-z]+) +[A-Z]", out, flags=re.MULTILINE) == [
        "serve",
        "predict",
        "page",
        "models",
        "keys",
        "dicom",
        "score",
        "report",
        "bench",
    ]


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (0, f"brainmri {__version__}\n", "")


def test_completion_is_offered_by_the_program_and_not_by_a_command(run: Run) -> None:
    offered = ["--install-completion" in run(*words, "--help")[1] for words in ([], ["score"], ["report"], ["bench"])]
    assert offered == [True, False, False, False]


def test_a_model_file_that_does_not_exist_is_named_as_such(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "none.bentomodel"
    assert run("models", "import", path) == (
        2,
        "",
        f"brainmri: {path} does not exist. Name a bundle's folder or a .bentomodel file.\n",
    )


def test_report_writes_one_file_about_folders_with_labels(
    run: Run, tmp_path: Path, png: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, colour in (("glioma", (255, 0, 0)), ("notumor", (0, 0, 255))):
        (tmp_path / "scans" / folder).mkdir(parents=True)
        (tmp_path / "scans" / folder / "a.png").write_bytes(png(colour))
    written = tmp_path / "report.html"
    status, out, _ = run("report", tmp_path / "scans", "--out", written, "--labels-from", "parent-folder")
    assert (status, "2 images, 0 without an answer." in out) == (0, True)
    assert "What the model said of 2 images" in written.read_text()
    assert "Mistakes" in written.read_text()
    (tmp_path / "scans" / "bad.png").write_bytes(b"text")
    status, out, _ = run("report", tmp_path / "scans", "--out", tmp_path / "report.pdf")
    assert (status, "3 images, 1 without an answer." in out) == (1, True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    monkeypatch.setattr("brainmri.commands.report.MOST_IMAGES", 2)
    status, _, err = run("report", tmp_path / "scans", "--out", tmp_path / "more.html")
    assert (status, "A report holds at most 2 images. Name fewer, or use brainmri score --report" in err) == (2, True)


def test_report_shows_every_frame_of_a_volume_or_the_one_that_is_asked_for(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    files = [tmp_path / "IM1", volume(tmp_path / "v.nii.gz")]
    files[0].write_bytes(two_frames())

    def shown(*options: str) -> list[str]:
        status, _, _ = run("report", *files, "--out", written, *options)
        assert status == 0
        return sorted(set(re.findall(r"(?:IM1|v\.nii\.gz), frame \d+", written.read_text())))

    every = ["IM1, frame 0", "IM1, frame 1", *(f"v.nii.gz, frame {number}" for number in (10, 17, 3))]
    assert shown("--step-mm", "14") == every
    assert shown("--frame", "1") == ["IM1, frame 1", "v.nii.gz, frame 1"]


def test_report_names_the_endings_that_it_writes(run: Run, tmp_path: Path) -> None:
    status, _, err = run("report", tmp_path, "--out", "report.doc")
    assert (status, err) == (2, "brainmri: --out is 'report.doc'. Name a file that ends with .html or .pdf.\n")
