"""Asks admission about each HTTP request before its body is read, and counts its body while it arrives."""

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.batching.admission import Admission, Admitted, Work
from brainmri.errors import BrainMRIError
from brainmri.web.failures import failure

_ADMITTED = "admitted"
"""Under this name a request's state holds its `Admitted`."""

_PREDICTION = re.compile(
    r"/predict|/predict_batch|/explain|/probabilities"
    r"|/v1/models/[^/]+(/versions/[^/]+)?:(predict|explain)|/v2/models/.+/infer"
)
_WORK = {"/score": Work.BULK, "/jobs": Work.BULK, "/report": Work.REPORT}


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
