"""The two models that the protocol shows of each bundle: their tensors, metadata, configuration and statistics."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from brainmri import __version__
from brainmri.batching.engine import Engine
from brainmri.errors import ModelNotFound
from brainmri.model.predictor import Prediction, Predictor
from brainmri.settings import Settings

INPUT = "image"
PROBABILITIES = "probabilities"
LABEL = "label"
NOVELTY = "novelty"
HEAT_MAP = "heatmap"
SOURCE = "source"

_IMAGE_SUFFIX = "_image"

SERVER_NAME = "brainmri"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "schedule_policy", "statistics")
"""Triton's names of what is offered beyond the protocol's core."""


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


@dataclass
class Duration:
    """How often something happened and how long it took in all, in ns."""

    count: int = 0
    ns: int = 0

    def add(self, elapsed_ns: float) -> None:
        """Counts once more."""
        self.count += 1
        self.ns += round(elapsed_ns)

    def body(self) -> dict[str, int]:
        """Returns the JSON of the protocol."""
        return {"count": self.count, "ns": self.ns}


@dataclass
class ModelStatistics:
    """What happened to one version of one model since this process started.

    Stages are counted once a request; a request of several images counts its slowest one, as they run side by side.
    Requests that cannot even be read, because of bad JSON for instance, are not counted. `compute_input` is decoding,
    `compute_output` stays 0: encoding an answer takes microseconds.
    """

    last_inference_ms: int = 0
    images: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    decode: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)

    def succeeded(self, predictions: Sequence[Prediction], elapsed_s: float) -> None:
        """Counts an answered request of at least one image."""
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.images += len(predictions)
        self.success.add(elapsed_s * 1e9)
        stages = {"queue": self.queue, "decode": self.decode, "inference": self.infer}
        for stage, duration in stages.items():
            duration.add(max(prediction.timings_ms.get(stage, 0.0) for prediction in predictions) * 1e6)

    def failed(self, elapsed_s: float) -> None:
        """Counts a request that got an error."""
        self.fail.add(elapsed_s * 1e9)

    def body(self, name: str, version: str) -> dict[str, Any]:
        """Returns the JSON of the protocol; the fields of gRPC have the same names."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": self.images,
            # Batches are formed across requests and protocols; seen from one model each request runs once.
            "execution_count": self.success.count,
            "inference_stats": {
                "success": self.success.body(),
                "fail": self.fail.body(),
                "queue": self.queue.body(),
                "compute_input": self.decode.body(),
                "compute_infer": self.infer.body(),
                "compute_output": Duration(self.success.count).body(),
            },
            "batch_stats": [],
        }


class Statistics:
    """The statistics of every model of this process, by name and version."""

    def __init__(self) -> None:
        self._models: defaultdict[tuple[str, str], ModelStatistics] = defaultdict(ModelStatistics)

    def of(self, name: str, version: str) -> ModelStatistics:
        """Returns those of one model, zeros at first."""
        return self._models[name, version]


def server_metadata() -> dict[str, Any]:
    """Returns name, version and extensions of this server."""
    return {"name": SERVER_NAME, "version": __version__, "extensions": list(EXTENSIONS)}


def index(engine: Engine) -> list[dict[str, str]]:
    """Returns every served model and version with its state."""
    return [
        {"name": model.name, "version": model.version, "state": "READY", "reason": ""}
        for model in served_models(engine)
    ]


def all_statistics(statistics: Statistics, models: Sequence[ServedModel]) -> dict[str, Any]:
    """Returns the statistics of `models`."""
    bodies = [statistics.of(model.name, model.version).body(model.name, model.version) for model in models]
    return {"model_stats": bodies}


def metadata(engine: Engine, model: ServedModel) -> dict[str, Any]:
    """Returns the model metadata in the form of REST; the fields of gRPC have the same names."""
    return {
        "name": model.name,
        "versions": [other.version for other in served_models(engine) if other.name == model.name],
        "platform": model.predictor.runtime_info.name,
        "inputs": [model.input.metadata()],
        "outputs": [output.metadata() for output in (*model.outputs, *model.optional_outputs)],
    }


def configuration(model: ServedModel, settings: Settings) -> dict[str, Any]:
    """Returns the model configuration in the form of REST (Triton's model_config.proto, enumerations as text)."""
    contract = model.predictor.contract
    novelty = contract.calibration(model.predictor.runtime_info.name).novelty
    return {
        "name": model.name,
        "platform": model.predictor.runtime_info.name,
        "backend": "brainmri",
        # Of one request: the engine forms its own batches, of several requests or of a part of one.
        "max_batch_size": settings.max_request_images,
        "input": [
            {
                **_config(model.input),
                "format": "FORMAT_NHWC" if model.kind is Kind.TENSOR else "FORMAT_NONE",
            }
        ],
        "output": [_config(output) for output in (*model.outputs, *model.optional_outputs)],
        "dynamic_batching": {
            "preferred_batch_size": [settings.max_batch_size],
            "max_queue_delay_microseconds": round(settings.max_queue_delay_ms * 1e3),
            "priority_levels": 2,
            "default_priority_level": 1,
        },
        "parameters": _parameters(
            {
                "labels": ",".join(contract.labels),
                "preprocessing_version": contract.input.preprocessing_version,
                "bundle": contract.tag,
                # Above it the label is what the policy says.
                **({} if novelty is None else {"novelty_threshold": f"{novelty.threshold:g}"}),
                "licence": contract.licence,
                "notice": contract.notice,
            }
        ),
    }


def _config(tensor: TensorSpec) -> dict[str, Any]:
    data_type = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    # Without the batch, which max_batch_size stands for.
    return {"name": tensor.name, "data_type": data_type, "dims": list(tensor.shape[1:])}


def _parameters(values: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {key: {"string_value": value} for key, value in values.items()}
