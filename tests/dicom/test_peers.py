"""The listener with DCMTK's programs, and as a process that is killed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from brainmri.dicom.destination import NodeDestination
from brainmri.model.predictor import Predictor
from tests.dicom.nodes import SOON_S, listening, stored, until
from tests.dicom.programs import brainmri_listening, free_port, listens, path_of, run, running
from tests.dicom.samples import INSTANCE, MARKS, STUDY, slice_of_study
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.slow

HEADER = ("-aet", "STORESCU", "-aec", "BRAINMRI", "127.0.0.1")


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("explaining")
    return Predictor.open(write_tiny_bundle(folder / "bundle", folder, explains=True))


@pytest.fixture
def slice_file(tmp_path: Path) -> Path:
    path = tmp_path / "slice.dcm"
    path.write_bytes(slice_of_study())
    return path


@contextmanager
def storescp(folder: Path, port: int) -> Iterator[Path]:
    """Runs DCMTK's storage SCP; gives the folder of what it gets."""
    folder.mkdir(exist_ok=True)
    command = [path_of("storescp"), "-aet", "STORESCP", "--output-directory", folder, port]
    with running(command, folder.with_suffix(".log"), ready=lambda: listens(port)):
        yield folder


def test_echoscu_is_answered_and_a_stranger_is_not(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port:
        assert run("echoscu", *HEADER, port).returncode == 0
        refused = run("echoscu", "-aet", "STRANGER", "-aec", "BRAINMRI", "127.0.0.1", port)
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stderr


def test_storescu_sends_a_slice_and_reads_why_another_is_refused(
    explaining: Predictor, tmp_path: Path, slice_file: Path
) -> None:
    knee = tmp_path / "knee.dcm"
    knee.write_bytes(slice_of_study(2, BodyPartExamined="KNEE"))
    with listening(explaining, tmp_path) as port:
        assert run("storescu", *HEADER, port, slice_file).returncode == 0
        refused = run("storescu", "-v", *HEADER, port, knee)
        until(lambda: len(stored(tmp_path)) == 2, "The results")
    assert "Received Store Response (Error: CannotUnderstand)" in refused.stdout + refused.stderr


def test_storescp_gets_both_results(explaining: Predictor, tmp_path: Path, slice_file: Path) -> None:
    port = free_port()
    node = NodeDestination("STORESCP", "127.0.0.1", port, "BRAINMRI")
    with storescp(tmp_path / "scp", port) as got, listening(explaining, tmp_path, node) as ours:
        assert run("storescu", *HEADER, ours, slice_file).returncode == 0
        until(lambda: len(list(got.iterdir())) == 2, "The results")
        results = [pydicom.dcmread(file) for file in got.iterdir()]
    assert sorted(one.Modality for one in results) == ["OT", "SR"]
    assert {one.StudyInstanceUID for one in results} == {STUDY}


def test_what_was_accepted_is_answered_once_after_a_kill(tmp_path: Path, slice_file: Path) -> None:
    port, destination = free_port(), free_port()
    options = ("--allow", "STORESCU", "--to", f"STORESCP@127.0.0.1:{destination}")
    with brainmri_listening(tmp_path, port, *options) as process:
        assert run("storescu", *HEADER, port, slice_file).returncode == 0
        process.kill()
        process.wait()
    with storescp(tmp_path / "scp", destination) as got, brainmri_listening(tmp_path, port, *options) as process:
        until(lambda: len(list(got.iterdir())) == 2, "The results")
        # The same slice again, as of a sender whose answer the kill cut off.
        assert run("storescu", *HEADER, port, slice_file).returncode == 0
        until(lambda: list((tmp_path / "spool" / "done").iterdir()) != [], "The mark of what is done")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 0
        assert len(list(got.iterdir())) == 2
    log = (tmp_path / "listen.log").read_text()
    assert log.count("Delivered the results of object") == 1
    assert [value for value in (*MARKS, STUDY, INSTANCE) if value in log] == []
