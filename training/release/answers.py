"""What a bundle says about images, as it would be served: probabilities, novelty and verdicts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.model.calibration import probabilities
from brainmri.model.novelty import open_detector
from training.data.slices import NOTUMOR, Slices
from training.release.outputs import SERVING, Outputs, RuntimeChoice

REFUSED, UNSURE = -2, -1
"""Verdicts beside the indices of labels: no brain MRI, and a largest probability below the contract's limit."""


@dataclass(frozen=True)
class Answers:
    """What a runtime says about some rows.

    Attributes:
        rows: Row numbers `[N]` of the slices.
        labels: True labels `[N]`, as in `Slices`.
        logits: float32 `[N, C]`.
        likely: Calibrated probabilities, float32 `[N, C]`.
        novelty: Scores `[N]`; None without a detector.
        verdicts: Index of a label, `UNSURE` or `REFUSED`, `[N]`.
        no_tumor: Index of the label that means "no tumour"; see `Slices.no_tumor`.
    """

    rows: NDArray[np.intp]
    labels: NDArray[np.intp]
    logits: NDArray[np.float32]
    likely: NDArray[np.float32]
    novelty: NDArray[np.floating] | None
    verdicts: NDArray[np.intp]
    no_tumor: int = NOTUMOR

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Returns the index of the most probable label `[N]`, whatever the verdict."""
        return np.asarray(self.likely.argmax(axis=1), dtype=np.intp)

    @property
    def finds_tumour(self) -> NDArray[np.bool_]:
        """Returns whether the most probable label is one of the tumours `[N]`."""
        return np.asarray(self.predicted != self.no_tumor)

    def part(self, chosen: NDArray[np.bool_]) -> "Answers":
        """Returns the answers that a mask `[N]` chooses."""
        return Answers(
            self.rows[chosen],
            self.labels[chosen],
            self.logits[chosen],
            self.likely[chosen],
            None if self.novelty is None else self.novelty[chosen],
            self.verdicts[chosen],
            self.no_tumor,
        )


def answer(outputs: Outputs, slices: Slices, subset: str, choice: RuntimeChoice = SERVING) -> Answers:
    """Returns a runtime's answers to a subset.

    Raises:
        RuntimeUnavailable: The artefact or its package is missing.
    """
    rows, name = slices.subset(subset), outputs.name(choice)
    calibration = outputs.bundle.contract.calibration(name)
    detector = open_detector(outputs.bundle, name)
    output = outputs.of(choice, slices.pixels, rows)
    likely = probabilities(output.logits, calibration.temperature)
    novelty = None if detector is None else detector.score(output.features)
    verdicts = np.where(likely.max(axis=1) < calibration.min_confidence, UNSURE, likely.argmax(axis=1))
    if novelty is not None and calibration.novelty is not None:
        verdicts = np.where(novelty > calibration.novelty.threshold, REFUSED, verdicts)
    verdicts = verdicts.astype(np.intp)
    return Answers(rows, slices.labels[rows], output.logits, likely, novelty, verdicts, slices.no_tumor)
