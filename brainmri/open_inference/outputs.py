"""The tensors of an answer: what a client may ask for, and how predictions fill them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import MalformedRequest
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Prediction
from brainmri.open_inference.models import HEAT_MAP, LABEL, NOVELTY, PROBABILITIES, SOURCE, Kind, ServedModel
from brainmri.open_inference.tensors import pack_elements
from brainmri.web.schemas import image_body


def classify(probabilities: NDArray[np.float32], labels: tuple[str, ...], count: int) -> list[list[bytes]]:
    """Returns the best classes of each row as `value:index:label`, best first.

    Args:
        probabilities: `[B, C]`.
        labels: The C classes.
        count: How many to return, at least 1; more than C gives C.
    """
    # Stable, so that equal probabilities come in the order of the labels.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return [
        [f"{row[index]:f}:{index}:{labels[index]}".encode() for index in order]
        for row, order in zip(probabilities, best, strict=True)
    ]


@dataclass(frozen=True)
class WantedOutput:
    """An output that the client asks for.

    Attributes:
        name: Of the output.
        classes: Above 0 asks for the best classes in words.
        label: The class whose heat map is asked for; the most probable one if None.
    """

    name: str
    classes: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class OutputTensor:
    """An output: float32 `[B, n]` or `[B, h, w]`, or rows of BYTES elements."""

    name: str
    values: NDArray[np.float32] | list[list[bytes]]

    @property
    def datatype(self) -> str:
        """Datatype in the protocol."""
        return "FP32" if isinstance(self.values, np.ndarray) else "BYTES"

    @property
    def shape(self) -> list[int]:
        """`[B, n]` or `[B, h, w]`."""
        if isinstance(self.values, np.ndarray):
            return list(self.values.shape)
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
    """Returns every output of a model but the optional ones, as they are, in order."""
    return [WantedOutput(output.name) for output in model.outputs]


def check_outputs(outputs: Sequence[WantedOutput], model: ServedModel) -> None:
    """Checks what the client asks for.

    Raises:
        MalformedRequest: The model has no such output, it cannot be classified, or it is asked for twice; a label
            that there is not.
        HeatMapUnavailable: Heat maps are asked for, and the model carries none.
    """
    if len({wanted.name for wanted in outputs}) < len(outputs):
        raise MalformedRequest("An output is asked for twice. Ask for each one once.")
    known = [output.name for output in (*model.outputs, *model.optional_outputs)]
    for wanted in outputs:
        if wanted.name == HEAT_MAP and model.kind is Kind.FILES:
            model.predictor.require_heat_maps(wanted.label)
        elif wanted.label is not None:
            raise MalformedRequest(f"Only the output {HEAT_MAP!r} has a parameter label, not {wanted.name[:80]!r}.")
        if wanted.name not in known:
            raise MalformedRequest(
                f"The model has no output {wanted.name[:80]!r}. Ask for one of {', '.join(known)}.",
                limit=", ".join(known),
            )
        if wanted.classes is not None and wanted.name != PROBABILITIES:
            raise MalformedRequest(f"Only the output {PROBABILITIES!r} can be classified, not {wanted.name!r}.")
        if wanted.classes is not None and wanted.classes < 1:
            raise MalformedRequest(f"The parameter classification is {wanted.classes}; it must be at least 1.")


def explain_of(outputs: Sequence[WantedOutput]) -> Explain | None:
    """Returns which heat maps checked outputs ask for; None if none do."""
    return next((Explain(wanted.label) for wanted in outputs if wanted.name == HEAT_MAP), None)


def make_output(wanted: WantedOutput, model: ServedModel, predictions: Sequence[Prediction]) -> OutputTensor:
    """Returns one checked output for at least one prediction."""
    if wanted.name == LABEL:
        # Never empty: who abstains says why, `not_a_brain_mri`.
        texts = [prediction.label or prediction.verdict for prediction in predictions]
        return OutputTensor(LABEL, [[text.encode()] for text in texts])
    if wanted.name == NOVELTY:
        scores = [np.nan if prediction.novelty is None else prediction.novelty for prediction in predictions]
        return OutputTensor(NOVELTY, np.array(scores, np.float32)[:, np.newaxis])
    if wanted.name == SOURCE:
        return OutputTensor(SOURCE, [[_source(prediction)] for prediction in predictions])
    if wanted.name == HEAT_MAP:
        return OutputTensor(HEAT_MAP, np.stack([prediction.explained.heat_map.cells for prediction in predictions]))
    rows = np.array([list(prediction.probabilities.values()) for prediction in predictions], np.float32)
    if wanted.classes is None:
        return OutputTensor(PROBABILITIES, rows)
    return OutputTensor(PROBABILITIES, classify(rows, model.predictor.contract.labels, wanted.classes))


def _source(prediction: Prediction) -> bytes:
    body = image_body(prediction.image)
    return b"null" if body is None else body.model_dump_json().encode()
