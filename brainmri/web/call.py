"""A request of HTTP on its way in: admission before its body is read, then the Call that its headers make."""

import asyncio
import contextlib
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.batching.admission import Admission, Admitted, Work
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.imaging.picture import MAX_FRAME, ReadOptions
from brainmri.model.predictor import Predictor
from brainmri.observe.request_record import RequestRecord
from brainmri.settings import Settings
from brainmri.web.failures import failure

_ADMITTED = "admitted"
"""Under this name a request's state holds its `Admitted`."""

_PREDICTION = re.compile(
    r"/predict|/predict_batch|/explain|/probabilities"
    r"|/v1/models/[^/]+(/versions/[^/]+)?:(predict|explain)|/v2/models/.+/infer"
)
_WORK = {"/score": Work.BULK, "/jobs": Work.BULK, "/report": Work.REPORT}

TIMEOUT_HEADER = "X-Request-Timeout-Ms"
PRIORITY_HEADER = "X-Request-Priority"

WARM_UP = "warm_up"
"""Under this name the state of a request that the server sends itself while it starts holds True."""

T = TypeVar("T")


class AdmissionMiddleware:
    """Answers requests that are not let in with the error that says why; hands on all others.

    Under overload most requests end here, and what each of them costs is taken from those that are answered. So it
    stands in front of routing and of the body. Refusals that depend on a request's own deadline or priority come later.

    A piece of a body counts when it has come, not when it is announced: or else a few clients that announce much and
    send little would shut out all others.

    Args:
        app: What answers; it must answer `BrainMRIError` that `receive` raises.
        admission: What lets requests in.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        work = _work(scope)
        try:
            admitted = self._admission.admit(work, client_of(Request(scope)) if work.takes_slot else "")
        except BrainMRIError as error:
            await failure(Request(scope), error)(scope, receive, send)
            return

        async def counted_receive() -> Message:
            message = await receive()
            admitted.hold(len(message.get("body", b"")))
            return message

        with admitted:
            scope["state"] = {**scope.get("state", {}), _ADMITTED: admitted}
            await self._app(scope, counted_receive, send)


def admitted_of(request: Request) -> Admitted | None:
    """Returns what a request holds; None without the middleware."""
    admitted: Admitted | None = getattr(request.state, _ADMITTED, None)
    return admitted


def client_of(request: Request) -> str:
    """Returns who a client is: the name of its API key, or else its address."""
    key: str | None = getattr(request.state, "key_name", None)
    if key is not None:
        return f"key {key}"
    return "" if request.client is None else f"address {request.client.host}"


def _work(scope: Scope) -> Work:
    if scope["method"] != "POST":
        return Work.OTHER
    if _PREDICTION.fullmatch(scope["path"]):
        return Work.PREDICTION
    return _WORK.get(scope["path"], Work.OTHER)


def call_of(request: Request, engine: Engine, settings: Settings, predictor: Predictor) -> Call:
    """Reads a request's headers and query, before any of its body is read; a request without a chance ends here.

    Args:
        request: The request.
        engine: Has to have room.
        settings: The longest time that a request may take.
        predictor: Which model is asked for.

    Raises:
        NotReady: No model is loaded and warm, or the engine is draining.
        Overloaded: The queue is full, or the predicted wait exceeds the deadline.
        MalformedRequest: A header or a parameter with a bad value.
    """
    options = _options(request)
    deadline = Deadline.after(_timeout_s(request, settings.request_timeout_s))
    warm_up = getattr(request.state, WARM_UP, False)
    call = Call(
        predictor,
        deadline,
        _priority(request),
        record=record_of(request),
        options=options,
        admitted=admitted_of(request),
        warm_up=warm_up,
    )
    engine.require_room(call)
    return call


def record_of(request: Request) -> RequestRecord | None:
    """Returns what is noted about a request; None without the middleware that opens records."""
    record: RequestRecord | None = getattr(request.state, "record", None)
    return record


async def cancel_on_disconnect(request: Request, deadline: Deadline, work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` for as long as its caller waits; the request's body must have been read.

    Args:
        request: Tells when the client leaves.
        deadline: When the caller stops waiting.
        work: Is cancelled when nobody waits for it any more.

    Raises:
        DeadlineExceeded: The deadline has passed.
        ClientDisconnect: The client left.
    """
    task = asyncio.ensure_future(work)
    departure = asyncio.ensure_future(_departure(request.receive))
    try:
        await asyncio.wait((task, departure), timeout=deadline.remaining_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if departure.done():
            raise ClientDisconnect
        raise deadline.exceeded()
    finally:
        departure.cancel()
        if task.cancel():
            # Lets it clean up; what it raises has no reader any more.
            await asyncio.wait((task,))
            with contextlib.suppress(asyncio.CancelledError):
                task.exception()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _timeout_s(request: Request, most_s: float) -> float:
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return most_s
    if not re.fullmatch(r"[0-9]{1,15}", given) or int(given) == 0:
        most_ms = int(most_s * 1e3)
        raise MalformedRequest(
            f"The header {TIMEOUT_HEADER} is {given[:40]!r}. Send a whole number of milliseconds, at least 1; more than"
            f" {most_ms} counts as {most_ms}.",
            limit=f"1 to {most_ms} ms",
        )
    return min(int(given) / 1e3, most_s)


def _options(request: Request) -> ReadOptions:
    frame = request.query_params.get("frame")
    if frame is not None and not re.fullmatch(r"[0-9]{1,6}", frame):
        raise MalformedRequest(
            f"The parameter frame is {frame[:40]!r}. Send the number of a frame, counted from 0.",
            limit=f"0 to {MAX_FRAME}",
        )
    return ReadOptions(None if frame is None else int(frame), force_of(request))


def force_of(request: Request) -> bool:
    """Returns whether DICOM objects that say they are not MRI of a head are answered too.

    Raises:
        MalformedRequest: The parameter `force` is neither true nor false.
    """
    force = request.query_params.get("force", "false")
    if force not in ("true", "false"):
        raise MalformedRequest(f"The parameter force is {force[:40]!r}. Send true or false.", limit="true, false")
    return force == "true"


def _priority(request: Request) -> Priority:
    given = request.headers.get(PRIORITY_HEADER, "interactive")
    if given.upper() not in Priority.__members__:
        known = " or ".join(name.lower() for name in Priority.__members__)
        raise MalformedRequest(f"The header {PRIORITY_HEADER} is {given[:40]!r}. Send {known}.", limit=known)
    return Priority[given.upper()]
