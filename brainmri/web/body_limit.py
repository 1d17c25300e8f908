"""Limits on the requests of BentoML's own routes, which would take any number of any size, kind and duration."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.batching.admission import Admission
from brainmri.batching.deadline import Deadline
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.web.body import BodyLimits, read_body, request_too_large
from brainmri.web.failures import failure

_JSON = "application/json"


class BodyLimitMiddleware:
    """Hands on whole bodies of JSON only, and ends what takes too long; all with this project's own errors.

    Args:
        app: What answers.
        path: The route that it guards.
        max_bytes: Largest body, in bytes.
        admission: Counts its requests among those with tensors.
        idle_s: Longest pause in a body, in seconds.
        timeout_s: Longest time until an answer begins, the body included, in seconds.
    """

    def __init__(
        self, app: ASGIApp, path: str, max_bytes: int, admission: Admission, idle_s: float = 10, timeout_s: float = 30
    ) -> None:
        self._app = app
        self._path = path
        self._max_bytes = max_bytes
        self._admission = admission
        self._idle_s = idle_s
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        try:
            await self._serve(scope, receive, send)
        except BrainMRIError as error:
            await failure(Request(scope), error)(scope, receive, send)
        except ClientDisconnect:
            await Response(status_code=499)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check(Headers(scope=scope))
        deadline = Deadline.after(self._timeout_s)
        body = await read_body(Request(scope, receive), BodyLimits(self._max_bytes, self._idle_s, deadline))
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        with self._admission.tensors():
            await self._answer(scope, replay, send, deadline)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, deadline: Deadline) -> None:
        try:
            async with asyncio.timeout(deadline.remaining_s) as limit:

                async def begin(message: Message) -> None:
                    limit.reschedule(None)
                    await send(message)

                await self._app(scope, receive, begin)
        except TimeoutError as error:
            raise deadline.exceeded() from error

    def _check(self, headers: Headers) -> None:
        kind = headers.get("content-type", _JSON).partition(";")[0].strip().lower()
        if kind != _JSON:
            raise MalformedRequest(
                f"The content type is {kind[:80]!r}. Send {_JSON}; image files go to /predict.", limit=_JSON
            )
        length = headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,18}", length):
            raise MalformedRequest("This path needs the header Content-Length. Send the body in one piece.")
        if int(length) > self._max_bytes:
            raise request_too_large(int(length), self._max_bytes)
