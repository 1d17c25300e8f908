"""A DICOM object whose every element holds a mark: no mark is in an answer, a log, a metric or a span."""

import base64
import io
import logging
import zipfile
from collections.abc import Iterator

import httpx
import pydicom
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydicom._dicom_dict import DicomDictionary

from brainmri.imaging.dicom_header import WANTED
from brainmri.observe.tracing import Tracing
from tests.application import Ask
from tests.collector import Collector, collecting
from tests.imaging.dicom_samples import dataset, file, twelve_bits

MARK = "X9MARK"
_TEXTS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
_ALWAYS_TOLD = ("Modality", "BodyPartExamined", "PhotometricInterpretation")
"""Read, and told only where their value is one of the standard's own terms."""


def marked(*also: str) -> pydicom.Dataset:
    """Returns an MR object with a mark of its own in each element of text, and in those of `also`."""
    ds = dataset(twelve_bits())
    needed = set(WANTED) - set(also)
    with pydicom.config.disable_value_validation():
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
            if vr in _TEXTS and 0x0008 <= tag >> 16 < 0x7F00 and keyword not in {*needed, "SpecificCharacterSet"}:
                ds.add_new(tag, vr, f"{MARK}{tag:08X}")
        ds.add_new(0x00091001, "LO", f"{MARK}PRIVATE")
        nested = pydicom.Dataset()
        nested.PatientName = f"{MARK}NESTED"
        ds.ReferencedStudySequence = [nested]
    return ds


def written(ds: pydicom.Dataset) -> bytes:
    with pydicom.config.disable_value_validation():
        return file(ds)


def damaged(data: bytes) -> bytes:
    at = data.index(b"LO", 4000)
    return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    """Returns what is answered, refused and damaged, by name."""
    intact = written(marked())
    assert intact.count(MARK.encode()) > 1000
    return {
        "intact": intact,
        "of no known term": written(marked(*_ALWAYS_TOLD)),
        "cut off": intact[:-300],
        "damaged": damaged(intact),
    }


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        made = Tracing()
        monkeypatch.setattr("brainmri.observe.request_record.process_tracing", lambda: made)
        yield collector
        made.close()


def requests(ask: Ask, objects: dict[str, bytes]) -> Iterator[httpx.Response]:
    limits = {"max_image_bytes": 2**20, "max_request_bytes": 2**23}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for name, data in objects.items():
            members.writestr(f"{name}.png", data)
            yield ask("POST", "/predict", content=data, headers={"content-type": "application/dicom"}, settings=limits)
    files = [("images", data) for data in objects.values()]
    yield ask("POST", "/predict_batch?force=true", files=files, settings=limits)
    instances = {"instances": [{"b64": base64.b64encode(objects["intact"]).decode()}]}
    yield ask("POST", "/v1/models/brain_mri:predict", json=instances, settings=limits)
    yield ask(
        "POST",
        "/v2/models/brain_mri_image/infer",
        content=objects["of no known term"],
        headers={"Inference-Header-Content-Length": "0"},
        settings=limits,
    )
    yield ask(
        "POST", "/score", content=archive.getvalue(), headers={"content-type": "application/zip"}, settings=limits
    )


def test_no_element_of_an_object_is_told(
    ask: Ask,
    registry: CollectorRegistry,
    spans: Collector,
    objects: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    responses = list(requests(ask, objects))
    assert [response.status_code for response in responses] == [200, 422, 400, 400, 200, 200, 422, 200]
    assert spans.arrived.wait(20)
    told = {
        "answers": " ".join(response.text + str(response.headers) for response in responses),
        "logs": caplog.text + "".join(str(record.__dict__) for record in caplog.records),
        "streams": "".join(capfd.readouterr()),
        "metrics": generate_latest(registry).decode(),
        "spans": repr(spans.spans),
    }
    assert "probabilities" in told["answers"]
    assert "brainmri_" in told["metrics"]
    assert {name for name, text in told.items() if MARK in text} == set()
