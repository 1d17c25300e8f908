"""The DICOM results of a run of bulk scoring: a report and a capture for each image that is answered."""

from dataclasses import dataclass
from pathlib import Path

from brainmri import durable
from brainmri.dicom.source import Source
from brainmri.model.predictor import Prediction


@dataclass(frozen=True)
class DicomFolder:
    """Where the results of a run go.

    Attributes:
        folder: Is made with the first one. What an interrupted run left is written again with its shard.
    """

    folder: Path

    def write(self, name: str, source: Source, prediction: Prediction) -> None:
        """Writes `NAME.report.dcm` and, for an answer with an explanation, `NAME.capture.dcm`.

        Raises:
            ImageUnreadable: The source's patient or study holds values that no DICOM object may have.
        """
        # highdicom takes a second to import, and is an extra.
        from brainmri.dicom.results import results_of  # noqa: PLC0415

        files = results_of(source, prediction).files()
        self.folder.mkdir(parents=True, exist_ok=True)
        for kind, content in files.items():
            durable.write_bytes(self.folder / f"{name}.{kind}.dcm", content)
