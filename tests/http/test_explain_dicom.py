import importlib.util
import io
from pathlib import Path

import httpx
import pydicom
import pytest

from brainmri.imaging import DecodeLimits
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.application import MAX_IMAGE_BYTES, Ask, code_of
from tests.dicom.samples import INSTANCE, STUDY, slice_of_study
from tests.imaging.samples import encode, grey
from tests.tiny import write_tiny_bundle

DICOM = {"Accept": "application/dicom", "Content-Type": "application/dicom"}


@pytest.fixture
def explaining(tmp_path: Path) -> Predictor:
    bundle = write_tiny_bundle(tmp_path / "explaining", tmp_path / "scratch", explains=True)
    return Predictor.open(bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_IMAGE_BYTES)))


def objects_of(response: httpx.Response) -> list[pydicom.Dataset]:
    """Returns the objects of a multipart answer (RFC 2046)."""
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    first, *parts, last = response.content.split(b"--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    heads, bodies = zip(*(part.removeprefix(b"\r\n").split(b"\r\n\r\n", 1) for part in parts), strict=True)
    assert set(heads) == {b"Content-Type: application/dicom"}
    return [pydicom.dcmread(io.BytesIO(body.removesuffix(b"\r\n"))) for body in bodies]


def test_a_dicom_object_is_answered_with_a_report_and_a_capture(ask: Ask, explaining: Predictor) -> None:
    response = ask("POST", "/explain", served=[explaining], headers=DICOM, content=slice_of_study())
    assert (response.status_code, response.headers["vary"]) == (200, "Accept")
    assert response.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    report, capture = objects_of(response)
    assert (report.Modality, capture.Modality) == ("SR", "OT")
    assert {report.StudyInstanceUID, capture.StudyInstanceUID} == {STUDY}
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == f"{INSTANCE}.1"


@pytest.mark.parametrize(("kind", "modality"), [("report", "SR"), ("capture", "OT")])
def test_one_object_comes_by_itself(ask: Ask, explaining: Predictor, kind: str, modality: str) -> None:
    response = ask("POST", f"/explain?object={kind}", served=[explaining], headers=DICOM, content=slice_of_study())
    assert response.headers["content-type"] == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(response.content)).Modality == modality


def test_a_model_without_heat_maps_gives_the_report_and_has_no_capture(ask: Ask) -> None:
    (report,) = objects_of(ask("POST", "/explain", headers=DICOM, content=slice_of_study()))
    assert report.Modality == "SR"
    refused = ask("POST", "/explain?object=capture", headers=DICOM, content=slice_of_study())
    assert (refused.status_code, code_of(refused)) == (501, "heat_map_unavailable")


def test_a_picture_has_no_study_to_write_into(ask: Ask, explaining: Predictor) -> None:
    headers = {"Accept": "application/dicom", "Content-Type": "image/png"}
    response = ask("POST", "/explain", served=[explaining], headers=headers, content=encode(grey(), "PNG"))
    assert (response.status_code, code_of(response)) == (422, "no_dicom_study")


def test_another_object_is_refused_with_what_there_is(ask: Ask, explaining: Predictor) -> None:
    response = ask("POST", "/explain?object=plan", served=[explaining], headers=DICOM, content=slice_of_study())
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert response.json()["error"]["limit"] == "report or capture"


def test_a_server_without_the_extra_says_what_to_install(
    ask: Ask, explaining: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else found(name))
    response = ask("POST", "/explain", served=[explaining], headers=DICOM, content=slice_of_study())
    assert (response.status_code, code_of(response)) == (501, "dicom_unavailable")
    assert "uv sync --extra dicom" in response.json()["error"]["message"]
