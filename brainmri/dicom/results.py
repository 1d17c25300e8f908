"""What an answer becomes in DICOM: a report, and a capture where the model has heat maps."""

import functools
import io
import logging
import warnings
from dataclasses import dataclass
from typing import Any

import pydicom

from brainmri.dicom.capture import capture_of
from brainmri.dicom.report import report_of
from brainmri.dicom.source import Source
from brainmri.errors import ImageUnreadable
from brainmri.model.heat_picture import Style
from brainmri.model.predictor import Prediction


@dataclass(frozen=True)
class DicomResults:
    """Two whole files of PS3.10.

    Attributes:
        report: The structured report.
        capture: The secondary capture; None for an answer without an explanation.
    """

    report: bytes
    capture: bytes | None

    def files(self) -> dict[str, bytes]:
        """Returns the kind of each object that there is, `report` or `capture`, to its file."""
        kinds = {"report": self.report, "capture": self.capture}
        return {kind: file for kind, file in kinds.items() if file is not None}


def results_of(source: Source, prediction: Prediction, style: Style = Style()) -> DicomResults:  # noqa: B008 -- immutable
    """Writes the results of one answer into the study of its source; takes some milliseconds.

    Args:
        source: What the answer is about.
        prediction: The answer; with an explanation there is a capture.
        style: How the heat map is drawn.

    Raises:
        ImageUnreadable: The source's patient or study holds values that no DICOM object may have.
    """
    _quiet_highdicom()
    try:
        report = _file(report_of(source, prediction))
        capture = None if prediction.explanation is None else _file(capture_of(source, prediction, style))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- highdicom checks what it copies, and quotes the elements
        raise ImageUnreadable(
            "The DICOM object's patient or study holds values that cannot be copied into a report. Mend them, or ask"
            " for JSON."
        ) from None
    return DicomResults(report, capture)


@functools.cache
def _quiet_highdicom() -> None:
    """Silences highdicom, whose warnings and log lines quote what it copies; see `quiet_pydicom`."""
    warnings.filterwarnings("ignore", module=r"highdicom\.")
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)


def _file(dataset: Any) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
