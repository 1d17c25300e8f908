"""The two models that the protocol shows of each served bundle: one takes tensors, one takes image files."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from brainmri.batching.engine import Engine
from brainmri.errors import ModelNotFound
from brainmri.model.predictor import Predictor

INPUT = "image"
PROBABILITIES = "probabilities"
LABEL = "label"
NOVELTY = "novelty"
HEAT_MAP = "heatmap"
SOURCE = "source"

_IMAGE_SUFFIX = "_image"


class Kind(Enum):
    """What a model takes."""

    TENSOR = "tensor"
    """uint8 pixels as the network sees them."""
    FILES = "files"
    """Encoded images, decoded and scaled here."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, datatype of the protocol and shape of a tensor; -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def metadata(self) -> dict[str, Any]:
        """Returns the tensor's entry in the model metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class ServedModel:
    """One model of the protocol.

    Attributes:
        name: The contract's `serving_name`, with `_image` for the one that takes files.
        kind: What it takes.
        predictor: What answers.
    """

    name: str
    kind: Kind
    predictor: Predictor

    @property
    def version(self) -> str:
        """Version of the bundle, such as `0.1.0`."""
        return self.predictor.contract.version

    @property
    def input(self) -> TensorSpec:
        """The one input."""
        if self.kind is Kind.FILES:
            return TensorSpec(INPUT, "BYTES", (-1, 1))
        spec = self.predictor.contract.input
        return TensorSpec(INPUT, "UINT8", (-1, spec.height, spec.width, spec.channels))

    @property
    def optional_outputs(self) -> tuple[TensorSpec, ...]:
        """What is answered only when it is asked for, of image files: how each was read, and heat maps in cells."""
        explanation = self.predictor.contract.explanation
        if self.kind is Kind.TENSOR:
            return ()
        source = TensorSpec(SOURCE, "BYTES", (-1, 1))
        if explanation is None:
            return (source,)
        return (source, TensorSpec(HEAT_MAP, "FP32", (-1, explanation.rows, explanation.columns)))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the order of the answer; exactly one for tensors, which stock image clients insist on."""
        probabilities = TensorSpec(PROBABILITIES, "FP32", (-1, len(self.predictor.contract.labels)))
        if self.kind is Kind.TENSOR:
            return (probabilities,)
        return (probabilities, TensorSpec(LABEL, "BYTES", (-1, 1)), TensorSpec(NOVELTY, "FP32", (-1, 1)))


def served_models(engine: Engine) -> list[ServedModel]:
    """Returns the models of every served bundle, those of the default bundle first."""
    return [
        ServedModel(predictor.contract.serving_name + suffix, kind, predictor)
        for predictor in engine.models.all()
        for suffix, kind in (("", Kind.TENSOR), (_IMAGE_SUFFIX, Kind.FILES))
    ]


def find_model(engine: Engine, name: str, version: str = "") -> ServedModel:
    """Returns the model of this name; without a version the first that is served.

    Raises:
        NotReady: No model is loaded.
        ModelNotFound: Nothing of that name and version is served; names what is.
    """
    models = served_models(engine)
    for model in models:
        if name == model.name and version in ("", model.version):
            return model
    engine.models.default  # noqa: B018 -- raises NotReady when nothing is loaded
    known = ", ".join(f"{model.name} (version {model.version})" for model in models)
    wanted = f"{name[:80]!r}" + (f" of version {version[:80]!r}" if version else "")
    raise ModelNotFound(f"No model {wanted} is served. Choose one of {known}.")
