"""The tensors of an answer: what a client may ask for, and how predictions fill them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import MalformedRequest
from brainmri.model.predictor import Prediction
from brainmri.open_inference.binary import pack_elements
from brainmri.open_inference.classification import classify
from brainmri.open_inference.models import LABEL, NOVELTY, PROBABILITIES, ServedModel


@dataclass(frozen=True)
class WantedOutput:
    """An output that the client asks for; `classes` above 0 asks for the best classes in words."""

    name: str
    classes: int | None = None


@dataclass(frozen=True)
class OutputTensor:
    """An output: float32 `[B, n]`, or rows of BYTES elements."""

    name: str
    values: NDArray[np.float32] | list[list[bytes]]

    @property
    def datatype(self) -> str:
        """Datatype in the protocol."""
        return "FP32" if isinstance(self.values, np.ndarray) else "BYTES"

    @property
    def shape(self) -> list[int]:
        """`[B, n]`."""
        return [len(self.values), len(self.values[0])]

    def elements(self) -> list[bytes]:
        """Returns the BYTES elements in order."""
        return [element for row in self.values for element in row]

    def raw(self) -> bytes:
        """Returns the tensor in the protocol's binary form."""
        if isinstance(self.values, np.ndarray):
            return self.values.astype("<f4", copy=False).tobytes()
        return pack_elements(self.elements())


def all_outputs(model: ServedModel) -> list[WantedOutput]:
    """Returns every output of a model, as they are, in order."""
    return [WantedOutput(output.name) for output in model.outputs]


def check_outputs(outputs: Sequence[WantedOutput], model: ServedModel) -> None:
    """Checks what the client asks for.

    Raises:
        MalformedRequest: The model has no such output, it cannot be classified, or it is asked for twice.
    """
    if len({wanted.name for wanted in outputs}) < len(outputs):
        raise MalformedRequest("An output is asked for twice. Ask for each one once.")
    known = [output.name for output in model.outputs]
    for wanted in outputs:
        if wanted.name not in known:
            raise MalformedRequest(
                f"The model has no output {wanted.name[:80]!r}. Ask for one of {', '.join(known)}.",
                limit=", ".join(known),
            )
        if wanted.classes is not None and wanted.name != PROBABILITIES:
            raise MalformedRequest(f"Only the output {PROBABILITIES!r} can be classified, not {wanted.name!r}.")
        if wanted.classes is not None and wanted.classes < 1:
            raise MalformedRequest(f"The parameter classification is {wanted.classes}; it must be at least 1.")


def make_output(wanted: WantedOutput, model: ServedModel, predictions: Sequence[Prediction]) -> OutputTensor:
    """Returns one checked output for at least one prediction."""
    if wanted.name == LABEL:
        # Never empty: who abstains says why, `not_a_brain_mri`.
        texts = [prediction.label or prediction.verdict for prediction in predictions]
        return OutputTensor(LABEL, [[text.encode()] for text in texts])
    if wanted.name == NOVELTY:
        scores = [np.nan if prediction.novelty is None else prediction.novelty for prediction in predictions]
        return OutputTensor(NOVELTY, np.array(scores, np.float32)[:, np.newaxis])
    rows = np.array([list(prediction.probabilities.values()) for prediction in predictions], np.float32)
    if wanted.classes is None:
        return OutputTensor(PROBABILITIES, rows)
    return OutputTensor(PROBABILITIES, classify(rows, model.predictor.contract.labels, wanted.classes))
