"""What the server tells about itself and its models, in the form of REST; the fields of gRPC have the same names."""

from collections.abc import Mapping, Sequence
from typing import Any

from brainmri import __version__
from brainmri.batching.engine import Engine
from brainmri.open_inference.models import Kind, ServedModel, TensorSpec, served_models
from brainmri.open_inference.statistics import Statistics
from brainmri.settings import Settings

SERVER_NAME = "brainmri"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "schedule_policy", "statistics")
"""Triton's names of what is offered beyond the protocol's core."""


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
