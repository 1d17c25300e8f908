"""ModelInfer's messages to and from the data plane."""

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from brainmri.errors import MalformedRequest
from brainmri.imaging.picture import ReadOptions
from brainmri.open_inference.dataplane import MAX_ID_CHARACTERS, InferRequest, priority_of
from brainmri.open_inference.models import ServedModel
from brainmri.open_inference.outputs import OutputTensor, WantedOutput
from brainmri.open_inference.tensors import Tensor


def to_request(message: Any, model: ServedModel) -> InferRequest:
    """Reads a `ModelInferRequest`.

    Raises:
        MalformedRequest: Inputs both raw and typed, shared memory, an id that is too long, or a parameter with a bad
            value.
    """
    if len(message.id) > MAX_ID_CHARACTERS:
        raise MalformedRequest(
            f"The id has {len(message.id)} characters; at most {MAX_ID_CHARACTERS} are accepted.",
            limit=f"{MAX_ID_CHARACTERS} characters",
        )
    parameters = message.parameters
    return InferRequest(
        model,
        _inputs(message),
        [_output(output) for output in message.outputs],
        _integer(parameters, "timeout"),
        priority_of(_integer(parameters, "priority")),
        _options(parameters),
    )


def to_response(message: Any, model: ServedModel, outputs: Sequence[OutputTensor]) -> Any:
    """Returns the `ModelInferResponse`, every output in `raw_output_contents`: stock clients read FP32 only there."""
    response = service_pb2.ModelInferResponse(
        model_name=model.name,
        model_version=model.version,
        id=message.id,
        raw_output_contents=[output.raw() for output in outputs],
    )
    response.parameters["notice"].string_param = model.predictor.contract.notice
    for output in outputs:
        response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    return response


def _inputs(message: Any) -> list[Tensor]:
    raw = message.raw_input_contents
    typed = [given for given in message.inputs if given.HasField("contents")]
    if raw and (typed or len(raw) != len(message.inputs)):
        raise MalformedRequest(
            f"The request has {len(message.inputs)} inputs, {len(raw)} raw_input_contents and {len(typed)} typed"
            " contents. Send the content of every input in raw_input_contents, or of every input typed."
        )
    return [_tensor(given, raw[index] if raw else None) for index, given in enumerate(message.inputs)]


def _tensor(given: Any, raw: bytes | None) -> Tensor:
    _refuse_shared_memory(given.parameters)
    shape = tuple(given.shape)
    if raw is not None:
        return Tensor(given.name, given.datatype, shape, raw=raw)
    if given.datatype == "BYTES":
        return Tensor(given.name, given.datatype, shape, elements=given.contents.bytes_contents)
    return Tensor(given.name, given.datatype, shape, values=given.contents.uint_contents)


def _output(wanted: Any) -> WantedOutput:
    if not wanted.parameters:
        return WantedOutput(wanted.name)
    _refuse_shared_memory(wanted.parameters)
    classes = _integer(wanted.parameters, "classification") if "classification" in wanted.parameters else None
    return WantedOutput(wanted.name, classes, _text(wanted.parameters, "label"))


def _refuse_shared_memory(parameters: Any) -> None:
    if parameters and "shared_memory_region" in parameters:
        raise MalformedRequest("Shared memory is not offered. Send tensors in the message.")


def _text(parameters: Any, name: str) -> str | None:
    if name not in parameters:
        return None
    if parameters[name].WhichOneof("parameter_choice") != "string_param":
        raise MalformedRequest(f"The parameter {name} must be a text (string_param).")
    return str(parameters[name].string_param)


def _options(parameters: Any) -> ReadOptions:
    frame = _integer(parameters, "frame") if "frame" in parameters else None
    return ReadOptions(frame, _boolean(parameters, "force"))


def _boolean(parameters: Any, name: str) -> bool:
    if name not in parameters:
        return False
    if parameters[name].WhichOneof("parameter_choice") != "bool_param":
        raise MalformedRequest(f"The parameter {name} must be true or false (bool_param).", limit="true, false")
    return bool(parameters[name].bool_param)


def _integer(parameters: Any, name: str) -> int:
    if name not in parameters:
        return 0
    value = parameters[name]
    chosen = value.WhichOneof("parameter_choice")
    if chosen not in ("int64_param", "uint64_param"):
        raise MalformedRequest(f"The parameter {name} must be an integer (int64_param or uint64_param).")
    return int(getattr(value, chosen))
