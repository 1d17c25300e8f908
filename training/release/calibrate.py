"""What turns a runtime's logits into answers: temperature and the confidence below which an answer is unsure.

Both come from validation alone. Each near-duplicate group weighs as much as one image in the temperature.
"""

import numpy as np
from numpy.typing import NDArray

from brainmri.model.calibration import probabilities
from brainmri.model.contract import Calibration
from training import metrics
from training.data.slices import Slices
from training.data.sources import VALIDATION
from training.release.outputs import Outputs, RuntimeChoice

COVERAGE = 0.95
"""Share of the validation slices that get an answer; the least confident others are `unsure`."""


def calibrate(outputs: Outputs, choice: RuntimeChoice, slices: Slices) -> Calibration:
    """Returns the calibration of one runtime of a bundle, still without a novelty detector."""
    rows = slices.subset(VALIDATION)
    logits = outputs.of(choice, slices.pixels, rows).logits
    temperature = metrics.fit_temperature(logits, slices.labels[rows], metrics.group_weights(slices.groups[rows]))
    confidence = probabilities(logits, temperature).max(axis=1)
    limit = lowest_confidence(confidence, COVERAGE)
    return Calibration(
        runtime=outputs.name(choice),
        temperature=temperature,
        min_confidence=limit,
        coverage=float((confidence >= limit).mean()),
    )


def lowest_confidence(confidence: NDArray[np.floating], coverage: float) -> float:
    """Returns the largest of the confidences `[N]` that at least the share `coverage` of them reaches."""
    return float(np.quantile(confidence, 1 - coverage, method="lower"))
