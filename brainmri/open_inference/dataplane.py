"""What REST and gRPC share: a validated request goes to the engine, its predictions become output tensors."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from brainmri.batching.admission import Admission, AdmissionLimits
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.blocking import Threads
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.imaging.picture import DEFAULT_OPTIONS, ReadOptions
from brainmri.model.predictor import Prediction
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.models import Kind, ServedModel, Statistics, TensorSpec
from brainmri.open_inference.outputs import (
    OutputTensor,
    WantedOutput,
    all_outputs,
    check_outputs,
    explain_of,
    make_output,
)
from brainmri.open_inference.tensors import Tensor, check_tensor, files, pixels
from brainmri.settings import Settings
from brainmri.web.failures import all_or_error

MAX_ID_CHARACTERS = 256
"""Longest id of a request; the answer repeats it."""

_THREADS = 2
_CHEAP = 16384
"""Numbers or characters that are converted on the event loop, in well under a millisecond."""


@dataclass(frozen=True)
class InferRequest:
    """One inference, whichever protocol it came by.

    Attributes:
        model: Which model.
        inputs: As sent.
        outputs: What to answer; every output of the model if empty.
        timeout_us: Time that the client gives it, in microseconds; 0 for as long as the server allows.
        priority: Interactive or bulk work.
        options: Which frame of each file, and whether another part of the body is answered for.
    """

    model: ServedModel
    inputs: Sequence[Tensor]
    outputs: Sequence[WantedOutput] = ()
    timeout_us: int = 0
    priority: Priority = Priority.INTERACTIVE
    options: ReadOptions = DEFAULT_OPTIONS


class DataPlane:
    """Answers inference requests; one of it serves REST and gRPC, so limits and statistics are those of both together.

    Args:
        engine: What predicts.
        settings: Limits.
        metrics: Counts each answered image.

    Attributes:
        engine: What predicts.
        settings: Limits.
        metrics: Those of this process.
        admission: What lets requests in, those of every interface.
        statistics: Counts and times of each model since the process started.
        threads: What parses and converts large requests.
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.engine = engine
        self.settings = settings
        self.metrics = metrics
        self.threads = Threads("tensors", _THREADS)
        self.statistics = Statistics()
        self.admission = Admission(AdmissionLimits.of(settings), engine.require_room_for)

    async def infer(self, call: Call, request: InferRequest) -> list[OutputTensor]:
        """Answers one request.

        Args:
            call: As the interface made it; the request's own timeout and priority come on top.
            request: What to run.

        Raises:
            BrainMRIError: Any of the engine's, or the request does not fit the model.
        """
        model = request.model
        statistics = self.statistics.of(model.name, model.version)
        start = time.perf_counter()
        try:
            predictions = await self._predict(_asked(call, request), request)
        except (BrainMRIError, asyncio.CancelledError):
            statistics.failed(time.perf_counter() - start)
            raise
        statistics.succeeded(predictions, time.perf_counter() - start)
        for prediction in predictions:
            self.metrics.observe_prediction(prediction, call.record)
        return [make_output(wanted, model, predictions) for wanted in request.outputs or all_outputs(model)]

    async def _predict(self, call: Call, request: InferRequest) -> list[Prediction]:
        model = request.model
        check_outputs(request.outputs, model)
        tensor = _only_input(request.inputs, model.input)
        check_tensor(tensor, model.input, self.settings.max_request_images)
        cheap = tensor.cost <= _CHEAP
        if model.kind is Kind.TENSOR:
            images = pixels(tensor) if cheap else await self.threads.run(pixels, tensor)
            return await self.engine.infer(call, images)
        encoded = files(tensor) if cheap else await self.threads.run(files, tensor)
        results = await self.engine.predict_many(replace(call, explain=explain_of(request.outputs)), encoded)
        return all_or_error(results, "Element {} of the input".format)


def priority_of(level: int) -> Priority:
    """Returns the meaning of the parameter `priority`: 1 is interactive work, 2 bulk work, 0 the default of 1.

    Raises:
        MalformedRequest: Another level.
    """
    if level not in (0, 1, 2):
        raise MalformedRequest(
            f"The parameter priority is {level}; it must be 1 (interactive, the default) or 2 (bulk).", limit="1, 2"
        )
    return Priority.BULK if level == 2 else Priority.INTERACTIVE


def _asked(call: Call, request: InferRequest) -> Call:
    priority = max(call.priority, request.priority)
    deadline = _earlier(call.deadline, request.timeout_us)
    return replace(call, deadline=deadline, priority=priority, options=request.options)


def _earlier(deadline: Deadline, timeout_us: int) -> Deadline:
    if timeout_us < 0:
        raise MalformedRequest(f"The parameter timeout is {timeout_us} microseconds; it must not be negative.")
    if timeout_us == 0:
        return deadline
    return min(deadline, Deadline.after(timeout_us / 1e6), key=lambda one: one.at)


def _only_input(inputs: Sequence[Tensor], spec: TensorSpec) -> Tensor:
    if len(inputs) != 1:
        raise MalformedRequest(
            f"The request has {len(inputs)} inputs; the model takes one, {spec.name!r}.", limit="1 input"
        )
    return inputs[0]
