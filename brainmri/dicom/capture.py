"""The secondary capture of one answer: the slice with its heat map, the verdict and the notice burnt in."""

from typing import Any

import numpy as np
from highdicom import ContentQualificationValues, CoordinateSystemNames, PhotometricInterpretationValues
from highdicom.sc import ConversionTypeValues, SCImage
from highdicom.spatial import get_closest_patient_orientation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from brainmri.dicom.report import MANUFACTURER, instance_number, key_of
from brainmri.dicom.source import Source
from brainmri.imaging import SIDE
from brainmri.model.contract import NOTICE
from brainmri.model.explanation import Explanation
from brainmri.model.heat_picture import Style, overlay
from brainmri.model.predictor import Prediction

_SERIES_NUMBER = 9002
_WIDTH = 2 * SIDE
_LINE, _MARGIN, _TEXT = 24, 8, 17
"""Height of a line, margin and height of letters, in pixels."""

_MOST_SHARES, _LETTERS = 4, 12
"""Most probabilities that have room in a line, and letters of their labels; of more classes it tells the likeliest."""


def capture_of(source: Source, prediction: Prediction, style: Style) -> Any:
    """Returns the capture as a pydicom `Dataset`: RGB, uncompressed, twice the size of the network's input.

    Args:
        source: What the answer is about.
        prediction: The answer, with its explanation.
        style: How the heat map is drawn.
    """
    explanation, model = prediction.explained, prediction.model
    key = ("capture", *key_of(model), explanation.heat_map.label, f"{style.opacity:g}", style.palette)
    image = SCImage.from_ref_dataset(
        source.dataset,
        pixel_array=_picture(prediction, explanation, style),
        photometric_interpretation=PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system=CoordinateSystemNames.PATIENT,
        series_instance_uid=source.series_uid("capture", *key_of(model)),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=source.uid(*key),
        instance_number=instance_number(source),
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model.name,
        software_versions=model.version,
        series_description=NOTICE,
        content_qualification=ContentQualificationValues.RESEARCH,
        patient_orientation=_orientation(source) or ("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    image.copy_patient_and_study_information(source.dataset)
    if _orientation(source) is None:
        # The constructor asks for one; unknown is empty.
        image.PatientOrientation = []
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.ConversionType = ConversionTypeValues.WSD.value
    image.DerivationDescription = (
        f"Evidence of {model.name} {model.version} for {explanation.heat_map.label}, in colour"
    )
    image.BodyPartExamined = "BRAIN"
    image.BurnedInAnnotation = "NO"
    image.SourceImageSequence = [_reference(source)]
    return image


def _orientation(source: Source) -> tuple[str, str] | None:
    """Returns where rows and columns lead, as letters of PS3.3, C.7.6.1.1.1; None where the source does not say."""
    cosines = source.dataset.get("ImageOrientationPatient")
    if cosines is not None and len(cosines) == 6:
        row, column = np.array(cosines, float).reshape(2, 3)
        if np.linalg.norm(np.cross(row, column)) > 0:
            directions = np.stack([row, column, np.cross(row, column)], axis=1)
            first, second, _ = get_closest_patient_orientation(directions)
            return first.value, second.value
    letters = source.dataset.get("PatientOrientation")
    return (str(letters[0]), str(letters[1])) if letters and len(letters) == 2 else None


def _reference(source: Source) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.dataset.SOPInstanceUID
    if source.frame is not None:
        reference.ReferencedFrameNumber = source.frame
    purpose = Dataset()
    purpose.CodeValue = codes.DCM.SourceImageForImageProcessingOperation.value
    purpose.CodingSchemeDesignator = "DCM"
    purpose.CodeMeaning = codes.DCM.SourceImageForImageProcessingOperation.meaning
    reference.PurposeOfReferenceCodeSequence = [purpose]
    return reference


def _picture(prediction: Prediction, explanation: Explanation, style: Style) -> NDArray[np.uint8]:
    """Draws the capture, uint8 `[H, W, 3]`."""
    lines = _lines(prediction, explanation)
    picture = Image.new("RGB", (_WIDTH, _WIDTH + len(lines) * _LINE + 2 * _MARGIN))
    picture.paste(overlay(explanation.pixels, explanation.heat_map, style, _WIDTH))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_TEXT)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _WIDTH + _MARGIN + number * _LINE), line, fill=(255, 255, 255), font=font)
    return np.asarray(picture, np.uint8)


def _lines(prediction: Prediction, explanation: Explanation) -> list[str]:
    model = prediction.model
    shares = prediction.probabilities if len(prediction.probabilities) <= _MOST_SHARES else dict(prediction.ranked[:3])
    probabilities = ", ".join(f"{label[:_LETTERS]} {100 * share:.1f} %" for label, share in shares.items())
    return [
        f"Verdict: {prediction.verdict.replace('_', ' ')}",
        probabilities,
        f"Colour: evidence for {explanation.heat_map.label}. {model.name} {model.version}",
        NOTICE,
    ]
