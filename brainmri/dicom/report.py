"""The structured report of one answer, after TID 1500 (PS3.16)."""

from typing import Any

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from brainmri.dicom.source import Source, derived_uid
from brainmri.imaging import PREPROCESSING_VERSION
from brainmri.model.contract import NOTICE
from brainmri.model.novelty import NOT_A_BRAIN_MRI
from brainmri.model.predictor import ModelIdentity, Prediction

SCHEME = "99BRAINMRI"
"""Designator of the codes that DICOM has no own ones for; docs/dicom.md lists them."""

MANUFACTURER = "brainmri"
"""Of every object that is written here."""

_SERIES_NUMBER = 9001
_DIGITS = 6


def report_of(source: Source, prediction: Prediction) -> Any:
    """Returns the report as a pydicom `Dataset`.

    Probabilities are numbers between 0 and 1, rounded to six digits; the verdict is a code.

    Args:
        source: What the answer is about.
        prediction: The answer.
    """
    model = prediction.model
    evidence = source.dataset
    return ComprehensiveSR(
        evidence=[evidence],
        content=_content(source, prediction)[0],
        series_instance_uid=source.series_uid("report", *key_of(model)),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=source.uid("report", *key_of(model)),
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        series_description=NOTICE,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, name="Codes of brainmri", version="1")],
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )


def key_of(model: ModelIdentity) -> tuple[str, str, str]:
    """Returns what tells the results of one model from those of another."""
    return model.name, model.version, model.runtime


def instance_number(source: Source) -> int:
    """Returns the number of the source's frame, or else of the source within its series; at least 1."""
    return max(1, source.frame or int(source.dataset.get("InstanceNumber") or 1))


def _content(source: Source, prediction: Prediction) -> MeasurementReport:
    model = prediction.model
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", *key_of(model)),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=model.name,
    )
    context = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=context),
        procedure_reported=codes.cid100.MRIUnspecifiedBodyRegion,
        imaging_measurements=[_group(source, prediction)],
    )


def _group(source: Source, prediction: Prediction) -> MeasurementsAndQualitativeEvaluations:
    model = prediction.model
    image = source.dataset
    frames = None if source.frame is None else [source.frame]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=source.uid("tracking", *key_of(model)), identifier="slice"),
        algorithm_id=AlgorithmIdentification(
            name=model.name,
            version=model.version,
            parameters=[f"runtime {model.runtime}", f"preprocessing {PREPROCESSING_VERSION}", NOTICE],
        ),
        finding_sites=[FindingSite(anatomic_location=codes.SCT.Brain)],
        measurements=_measurements(prediction),
        qualitative_evaluations=[QualitativeEvaluation(_code("VERDICT", "Verdict"), _verdict(prediction.verdict))],
        source_images=[SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID, frames)],
    )


def _measurements(prediction: Prediction) -> list[Measurement]:
    values = [
        (_code(f"P-{label.upper()}", f"Probability of {label}"), share)
        for label, share in prediction.probabilities.items()
    ]
    if prediction.novelty is not None:
        values.append((_code("NOVELTY", "Distance from the training slices"), prediction.novelty))
    return [Measurement(name=name, value=round(value, _DIGITS), unit=codes.UCUM.NoUnits) for name, value in values]


def _verdict(verdict: str) -> CodedConcept:
    # A short code value has at most 16 characters; that of a longer label is stored as a long one.
    value = "BRAIN-MRI" if verdict == NOT_A_BRAIN_MRI else verdict.upper().replace("_", "-")
    return _code(value, verdict.replace("_", " "))


def _code(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning)
