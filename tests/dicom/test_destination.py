import gc
import io
from pathlib import Path

import pydicom
import pytest

from brainmri.dicom.destination import FolderDestination, NodeDestination, Outcome
from brainmri.dicom.listen import Node
from brainmri.errors import InvalidSettings
from tests.dicom.samples import INSTANCE, slice_of_study


def test_a_destination_is_a_title_a_host_and_a_port() -> None:
    assert NodeDestination.of("ORTHANC@pacs.example:4242", "US") == NodeDestination(
        "ORTHANC", "pacs.example", 4242, "US"
    )


@pytest.mark.parametrize("text", ["ORTHANC", "ORTHANC@pacs", "@pacs:4242", "A@:1", "A@b:0", "A@b:65536"])
def test_another_destination_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidSettings, match="such as ORTHANC@pacs:4242"):
        NodeDestination.of(text, "US")


@pytest.mark.parametrize("title", ["X" * 17, " ", "Ä", "A\\B", "A\tB"])
def test_a_title_that_no_node_has_is_refused_wherever_it_is_given(title: str) -> None:
    with pytest.raises(InvalidSettings, match="Use 1 to 16 characters of ASCII") as refused:
        NodeDestination.of(f"{title}@pacs:4242", "US")
    assert refused.value.limit == "16 characters"
    with pytest.raises(InvalidSettings, match="Use 1 to 16 characters of ASCII"):
        Node("BRAINMRI", "127.0.0.1", 0, (title,), 1)


def test_a_folder_gets_files_that_are_named_after_their_uid(tmp_path: Path) -> None:
    file = tmp_path / "report.dcm"
    file.write_bytes(slice_of_study())
    assert list(FolderDestination(tmp_path / "out").deliver([file])) == [Outcome.DELIVERED]
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == f"{INSTANCE}.1.dcm"
    assert pydicom.dcmread(io.BytesIO(written.read_bytes())).SOPInstanceUID == f"{INSTANCE}.1"


def test_a_folder_that_cannot_be_written_is_tried_later(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    file = tmp_path / "report.dcm"
    file.write_bytes(slice_of_study())
    assert list(FolderDestination(tmp_path / "out").deliver([file])) == [Outcome.LATER]


# pynetdicom leaves the socket of a connection that never came about to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_node_that_does_not_answer_is_tried_later(tmp_path: Path) -> None:
    file = tmp_path / "report.dcm"
    file.write_bytes(slice_of_study())
    assert list(NodeDestination("NONE", "127.0.0.1", 1, "US").deliver([file])) == [Outcome.LATER]
    gc.collect()
