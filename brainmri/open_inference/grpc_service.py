"""The methods of `inference.GRPCInferenceService`; those that are not offered say so."""

from collections.abc import Collection, Sequence
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from tritonclient.grpc import service_pb2

from brainmri.batching.admission import Work
from brainmri.batching.call import Call
from brainmri.errors import MalformedRequest
from brainmri.imaging.picture import ReadOptions
from brainmri.open_inference.dataplane import MAX_ID_CHARACTERS, DataPlane, InferRequest, priority_of
from brainmri.open_inference.grpc_call import Method, Rpc, RpcHandler, RpcMethod, Shared
from brainmri.open_inference.models import (
    ServedModel,
    all_statistics,
    configuration,
    find_model,
    index,
    metadata,
    served_models,
    server_metadata,
)
from brainmri.open_inference.outputs import OutputTensor, WantedOutput
from brainmri.open_inference.tensors import Tensor

_DESCRIPTOR = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
SERVICE_NAME = str(_DESCRIPTOR.full_name)

_PROBES = ("ServerLive", "ServerReady", "ModelReady")
"""Methods that need no key: whoever restarts or balances has none."""

_INFER = "ModelInfer"
_NOT_OFFERED = {
    "ModelStreamInfer": "Send a ModelInfer for each request; those of one connection run side by side.",
    "RepositoryModelLoad": "Models are chosen with BRAINMRI_MODELS and `brainmri models activate`.",
    "RepositoryModelUnload": "Models are chosen with BRAINMRI_MODELS and `brainmri models activate`.",
    "TraceSetting": "Tracing is set up with the OTEL_* environment of the server.",
    "LogSettings": "Logging is set up with BRAINMRI_LOG_LEVEL.",
}
_NO_SHARED_MEMORY = "Shared memory is not offered. Send tensors in the message."


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
        raise MalformedRequest(_NO_SHARED_MEMORY)


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


class InferenceService:
    """Answers the methods that are offered.

    Args:
        plane: What answers inferences.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._engine = plane.engine

    async def server_live(self, _message: Any, _rpc: Rpc) -> Any:
        """Liveness: False when only a restart can recover."""
        return service_pb2.ServerLiveResponse(live=self._engine.server_alive)

    async def server_ready(self, _message: Any, _rpc: Rpc) -> Any:
        """Whether inferences are answered."""
        return service_pb2.ServerReadyResponse(ready=self._engine.server_ready)

    async def model_ready(self, message: Any, _rpc: Rpc) -> Any:
        """Whether inferences of one model are answered; an unknown one is NOT_FOUND."""
        if self._engine.ready:
            find_model(self._engine, message.name, message.version)
        return service_pb2.ModelReadyResponse(ready=self._engine.server_ready)

    async def server_metadata(self, _message: Any, _rpc: Rpc) -> Any:
        """Name, version and extensions."""
        return service_pb2.ServerMetadataResponse(**server_metadata())

    async def model_metadata(self, message: Any, _rpc: Rpc) -> Any:
        """Inputs and outputs."""
        model = find_model(self._engine, message.name, message.version)
        return ParseDict(metadata(self._engine, model), service_pb2.ModelMetadataResponse())

    async def model_config(self, message: Any, _rpc: Rpc) -> Any:
        """Inputs, outputs, largest batch."""
        model = find_model(self._engine, message.name, message.version)
        return ParseDict({"config": configuration(model, self._plane.settings)}, service_pb2.ModelConfigResponse())

    async def model_statistics(self, message: Any, _rpc: Rpc) -> Any:
        """Counts and times of one model, or of all of them."""
        engine = self._engine
        models = [find_model(engine, message.name, message.version)] if message.name else served_models(engine)
        return ParseDict(all_statistics(self._plane.statistics, models), service_pb2.ModelStatisticsResponse())

    async def repository_index(self, _message: Any, _rpc: Rpc) -> Any:
        """Every served model and version; all of them are ready."""
        return ParseDict({"models": index(self._engine)}, service_pb2.RepositoryIndexResponse())

    async def model_infer(self, message: Any, rpc: Rpc) -> Any:
        """Runs a model."""
        model = find_model(self._engine, message.model_name, message.model_version)
        call = Call(model.predictor, rpc.deadline, record=rpc.record, admitted=rpc.admitted)
        outputs = await self._plane.infer(call, to_request(message, model))
        return to_response(message, model, outputs)


def rpc_handlers(plane: DataPlane, shared: Shared) -> dict[str, RpcHandler]:
    """Returns what answers each method of the service that is offered, by its full name.

    Args:
        plane: What answers inferences.
        shared: What all calls share.
    """
    handlers = {}
    for name, answer in _methods(plane).items():
        method = RpcMethod(
            name=f"{SERVICE_NAME}/{name}",
            message_class=GetMessageClass(_DESCRIPTOR.methods_by_name[name].input_type),
            answer=answer,
            work=Work.PREDICTION if name == _INFER else Work.OTHER,
            needs_key=name not in _PROBES,
        )
        handlers["/" + method.name] = RpcHandler(method, shared)
    return handlers


def refusals(offered: Collection[str]) -> Any:
    """Returns gRPC's table of the methods of the service that are not offered.

    Args:
        offered: Full names of those that are, with a leading slash.
    """
    rest = [method for method in _DESCRIPTOR.methods if f"/{SERVICE_NAME}/{method.name}" not in offered]
    return grpc.method_handlers_generic_handler(SERVICE_NAME, {method.name: _refusal(method) for method in rest})


def _methods(plane: DataPlane) -> dict[str, Method]:
    service = InferenceService(plane)
    return {
        "ServerLive": service.server_live,
        "ServerReady": service.server_ready,
        "ModelReady": service.model_ready,
        "ServerMetadata": service.server_metadata,
        "ModelMetadata": service.model_metadata,
        "ModelConfig": service.model_config,
        "ModelStatistics": service.model_statistics,
        "RepositoryIndex": service.repository_index,
        _INFER: service.model_infer,
    }


def _refusal(descriptor: Any) -> Any:
    sentence = f"{descriptor.name} is not offered. {_NOT_OFFERED.get(descriptor.name, _NO_SHARED_MEMORY)}"

    async def refuse(_message: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)

    # As streams: messages that nobody asks for are not read.
    if descriptor.server_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    return grpc.stream_unary_rpc_method_handler(refuse)
