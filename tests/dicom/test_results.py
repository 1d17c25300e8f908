import io
import logging
from pathlib import Path
from typing import Any

import highdicom.sr
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from brainmri.dicom.results import results_of
from brainmri.dicom.source import read_source
from brainmri.errors import ImageUnreadable, NoStudy
from brainmri.imaging import DecodeLimits, ReadOptions
from brainmri.model.contract import LABELS, NOTICE
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Prediction, Predictor
from tests.dicom.programs import run
from tests.dicom.samples import ENHANCED, INSTANCE, PATIENT, SERIES, STUDY, half_bright, slice_of_study
from tests.imaging.samples import encode, grey
from tests.tiny import write_tiny_bundle

LIMITS = DecodeLimits()
MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("explaining")
    return Predictor.open(write_tiny_bundle(folder / "bundle", folder, explains=True, novelty_threshold=20.0))


def written(predictor: Predictor, data: bytes) -> tuple[Any, Any, Prediction]:
    """Returns report and capture as pydicom reads them, and the answer."""
    prediction = predictor.predict(data, Explain())
    results = results_of(read_source(data, LIMITS), prediction)
    assert results.capture is not None
    report, capture = (pydicom.dcmread(io.BytesIO(file)) for file in (results.report, results.capture))
    return report, capture, prediction


def group_of(report: Any) -> highdicom.sr.MeasurementsAndQualitativeEvaluations:
    content = highdicom.sr.ComprehensiveSR.from_dataset(report).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    (group,) = content.get_image_measurement_groups()
    assert isinstance(group, highdicom.sr.MeasurementsAndQualitativeEvaluations)
    return group


def test_the_report_says_in_codes_what_the_answer_says(explaining: Predictor) -> None:
    report, _, prediction = written(explaining, slice_of_study())
    group = group_of(report)
    measured = {item.name.value: (item.value, item.unit) for item in group.get_measurements()}
    expected = {f"P-{label.upper()}": round(prediction.probabilities[label], 6) for label in LABELS}
    assert prediction.novelty is not None
    expected["NOVELTY"] = round(prediction.novelty, 6)
    assert {name: float(value) for name, (value, _) in measured.items()} == expected
    assert {unit for _, unit in measured.values()} == {codes.UCUM.NoUnits}
    (verdict,) = group.get_qualitative_evaluations()
    value: Any = verdict.value
    assert (verdict.name.value, value.value, value.scheme_designator) == (
        "VERDICT",
        prediction.verdict.upper(),
        "99BRAINMRI",
    )
    texts = [item.value for item in group[0].ContentSequence if isinstance(item, highdicom.sr.TextContentItem)]
    assert {"brain_mri_xception", "0.0.1", "runtime openvino-f32", NOTICE} <= set(texts)


def test_both_objects_are_in_the_study_of_their_source_and_refer_to_it(explaining: Predictor) -> None:
    report, capture, _ = written(explaining, slice_of_study())
    for made in (report, capture):
        assert (made.StudyInstanceUID, made.StudyDate, made.StudyTime, made.StudyID) == (
            STUDY,
            "20260102",
            "030405",
            "S1",
        )
        assert {name: str(made[name].value) for name in PATIENT} == PATIENT
        assert made.SeriesDescription == NOTICE
        assert made.SeriesInstanceUID != SERIES
    assert highdicom.sr.ComprehensiveSR.from_dataset(report).get_evidence() == [(STUDY, SERIES, f"{INSTANCE}.1", MR)]
    (reference,) = capture.SourceImageSequence
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (MR, f"{INSTANCE}.1")


def test_the_frame_that_was_answered_is_named(explaining: Predictor) -> None:
    report, capture, _ = written(explaining, slice_of_study(pixels=np.stack([half_bright()] * 5), SOPClassUID=ENHANCED))
    (image,) = group_of(report).source_images
    assert image.referenced_frame_numbers == [3]
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 3


def test_a_frame_that_was_asked_for_is_named() -> None:
    data = slice_of_study(pixels=np.stack([half_bright()] * 5), SOPClassUID=ENHANCED)
    assert [read_source(data, LIMITS, ReadOptions(frame=frame)).frame for frame in (0, 4)] == [1, 5]
    assert read_source(slice_of_study(), LIMITS, ReadOptions(frame=0)).frame is None


def test_the_capture_shows_the_heat_map_over_the_slice_and_the_notice_below(explaining: Predictor) -> None:
    _, capture, _ = written(explaining, slice_of_study())
    pixels = capture.pixel_array
    assert (pixels.shape[1:], pixels.dtype) == ((598, 3), np.uint8)
    left, right = pixels[100:500, 50:250].astype(int), pixels[100:500, 350:550]
    # White under the strongest colour of cividis, which is yellow; nothing speaks for a class in the black half.
    assert left[..., 0].min() > 200 > left[..., 2].max()
    assert right.max() == 0
    text = pixels[598:]
    assert text.shape[0] == 112
    for line in range(4):
        assert text[8 + 24 * line : 32 + 24 * line].max() == 255


def test_rows_and_columns_lead_where_the_source_says(explaining: Predictor) -> None:
    known = written(explaining, slice_of_study(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]))[1]
    unknown = written(explaining, slice_of_study(ImageOrientationPatient=None))[1]
    assert list(known.PatientOrientation) == ["P", "F"]
    assert unknown["PatientOrientation"].is_empty


def test_the_same_slice_and_model_give_the_same_uids_and_another_slice_others(explaining: Predictor) -> None:
    first, again, second = (written(explaining, slice_of_study(number))[:2] for number in (1, 1, 2))
    assert [one.SOPInstanceUID for one in first] == [one.SOPInstanceUID for one in again]
    assert not {one.SOPInstanceUID for one in first} & {one.SOPInstanceUID for one in second}
    assert [one.SeriesInstanceUID for one in first] == [one.SeriesInstanceUID for one in second]
    assert [one.InstanceNumber for one in second] == [2, 2]


def test_a_model_without_heat_maps_gives_the_report(tmp_path: Path) -> None:
    predictor = Predictor.open(write_tiny_bundle(tmp_path / "bundle", tmp_path))
    data = slice_of_study()
    results = results_of(read_source(data, LIMITS), predictor.predict(data))
    assert list(results.files()) == ["report"]
    assert len(group_of(pydicom.dcmread(io.BytesIO(results.report))).get_measurements()) == 4


def test_elements_that_are_missing_or_wrong_stay_empty(explaining: Predictor) -> None:
    elements: dict[str, Any] = dict.fromkeys([*PATIENT, "StudyDate", "StudyTime", "StudyID", "InstanceNumber"])
    report, capture, _ = written(explaining, slice_of_study(**{**elements, "PatientSex": "X"}))
    for made in (report, capture):
        assert made["PatientName"].is_empty
        assert made["PatientSex"].is_empty
        assert made["StudyDate"].is_empty
        assert made.InstanceNumber == 1


def test_a_name_of_another_alphabet_is_copied_as_it_is(explaining: Predictor) -> None:
    name = "Müller^Jörg"
    for made in written(explaining, slice_of_study(SpecificCharacterSet="ISO_IR 100", PatientName=name))[:2]:
        assert (made.SpecificCharacterSet, made.PatientName) == ("ISO_IR 100", name)


def test_no_value_of_an_object_is_in_a_log(explaining: Predictor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    written(explaining, slice_of_study(PatientName="marked", PatientID="x" * 80))
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if "marked" in text or "x" * 80 in text or INSTANCE in text] == []


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_object_without_its_uids_is_refused_by_their_names(name: str) -> None:
    without: dict[str, Any] = {name: None}
    with pytest.raises(NoStudy, match=f"has no {name}, so no report"):
        read_source(slice_of_study(meta=False, **without), LIMITS)


def test_a_picture_is_refused_with_what_to_do() -> None:
    with pytest.raises(NoStudy, match=r"is not a DICOM object.*ask for JSON or a PNG"):
        read_source(encode(grey(), "PNG"), LIMITS)


def test_no_value_of_an_object_is_in_the_error_about_it(explaining: Predictor) -> None:
    data = slice_of_study(SOPClassUID="1.2.3.99.77")
    prediction = explaining.predict(data)
    with pytest.raises(ImageUnreadable) as caught:
        results_of(read_source(data, LIMITS), prediction)
    assert caught.value.__cause__ is None
    assert not any(value in caught.value.message for value in [*PATIENT.values(), "1.2.3.99.77"])


@pytest.mark.parametrize("frames", [None, 5])
def test_dciodvfy_finds_no_error(explaining: Predictor, tmp_path: Path, frames: int | None) -> None:
    several: dict[str, Any] = (
        {} if frames is None else {"pixels": np.stack([half_bright()] * frames), "SOPClassUID": ENHANCED}
    )
    data = slice_of_study(**several)
    files = results_of(read_source(data, LIMITS), explaining.predict(data, Explain())).files()
    for kind, content in files.items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(content)
        done = run("dciodvfy", path)
        found = (done.stdout + done.stderr).splitlines()
        assert found[0] == {"report": "ComprehensiveSR", "capture": "SCImage"}[kind]
        assert [line for line in found if line.startswith("Error")] == []


def test_dsrdump_reads_the_report(explaining: Predictor, tmp_path: Path) -> None:
    data = slice_of_study()
    path = tmp_path / "report.dcm"
    path.write_bytes(results_of(read_source(data, LIMITS), explaining.predict(data)).report)
    done = run("dsrdump", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert '<contains CODE:(,,"Verdict")=' in done.stdout
