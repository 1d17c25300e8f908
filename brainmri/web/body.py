"""The body of a request, piece by piece, with its limits enforced before anything is kept."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmri.batching.admission import Admission
from brainmri.batching.call import Deadline
from brainmri.errors import BrainMRIError, MalformedRequest, RequestTooLarge, UnsupportedEncoding, UploadStalled
from brainmri.web.failures import failure

PACE_WINDOW_S = 20.0
"""Over this long the pace of an upload is measured, in seconds in which the server waits for the client."""

_JSON = "application/json"


@dataclass(frozen=True)
class BodyLimits:
    """What a body may cost.

    Attributes:
        max_bytes: Largest body, in bytes.
        idle_s: Longest pause between two pieces, in seconds.
        deadline: When the whole request stops being waited for.
        encodings: Content encodings that the caller unpacks itself; others are refused.
        min_bytes_per_s: Slowest pace, on average over `PACE_WINDOW_S` of waiting for the client; 0 for any.
    """

    max_bytes: int
    idle_s: float
    deadline: Deadline
    encodings: tuple[str, ...] = ()
    min_bytes_per_s: int = 0


def request_too_large(received: int, max_bytes: int) -> RequestTooLarge:
    """Returns the error for a body of `received` bytes or more."""
    return RequestTooLarge(
        f"The request has {received} bytes or more; it may have at most {max_bytes}. Send it in smaller requests.",
        limit=f"{max_bytes} bytes",
    )


async def receive_body(
    request: Request,
    limits: BodyLimits,
    take: Callable[[bytes], Awaitable[None] | None],
    too_large: Callable[[int, int], BrainMRIError] = request_too_large,
) -> None:
    """Hands every piece of the body to `take`, until the end or the first broken limit.

    Args:
        request: The request; its body is consumed.
        limits: Size and pace.
        take: Gets each piece, and is waited for if it has to; an error that it raises ends the reading.
        too_large: Makes the error for a body that is too large, from the bytes seen and the limit.

    Raises:
        UnsupportedEncoding: The body is compressed.
        UploadStalled: The next piece did not come in time, or the pieces come too slowly.
        DeadlineExceeded: The upload as a whole took too long.
        ClientDisconnect: The client left.
        BrainMRIError: What `too_large` makes.
    """
    _refuse_compression(request, limits.encodings)
    # Refused before it is sent: a client that waits for "100 Continue" keeps its bytes.
    if (declared := declared_length(request)) > limits.max_bytes:
        raise too_large(declared, limits.max_bytes)
    clock = asyncio.get_running_loop().time
    received, slowest = 0, _Pace(limits.min_bytes_per_s, clock)
    try:
        async with (
            asyncio.timeout_at(min(clock() + limits.idle_s, limits.deadline.at)) as pace,
            aclosing(request.stream()) as pieces,
        ):
            async for piece in pieces:
                slowest.received(len(piece))
                pace.reschedule(min(clock() + limits.idle_s, limits.deadline.at))
                received += len(piece)
                if received > limits.max_bytes:
                    raise too_large(received, limits.max_bytes)
                if (taking := take(piece)) is not None:
                    await taking
                    pace.reschedule(min(clock() + limits.idle_s, limits.deadline.at))
                slowest.wait()
    except TimeoutError as error:
        # Whichever of the two was due first was the one that was set.
        if (pace.when() or 0) >= limits.deadline.at:
            raise limits.deadline.exceeded() from error
        raise UploadStalled(
            f"No piece of the upload came within {limits.idle_s:g} s. Send it without pauses.",
            limit=f"{limits.idle_s:g} s",
        ) from error


class _Pace:
    """Refuses uploads that trickle; a slow disk of the server's does not count."""

    def __init__(self, min_bytes_per_s: int, clock: Callable[[], float]) -> None:
        self._min_bytes_per_s = min_bytes_per_s
        self._clock = clock
        self._waited_s = 0.0
        self._bytes = 0
        self.wait()

    def wait(self) -> None:
        self._asked = self._clock()

    def received(self, size: int) -> None:
        self._waited_s += self._clock() - self._asked
        self._bytes += size
        if self._waited_s < PACE_WINDOW_S:
            return
        if self._bytes < self._min_bytes_per_s * self._waited_s:
            limit = f"{self._min_bytes_per_s} bytes a second"
            raise UploadStalled(
                f"The upload brought {self._bytes} bytes in {self._waited_s:.0f} s; at least {limit} are needed."
                " Send it over a faster connection, or as several smaller ones.",
                limit=limit,
            )
        self._waited_s, self._bytes = 0.0, 0


async def read_body(
    request: Request, limits: BodyLimits, too_large: Callable[[int, int], BrainMRIError] = request_too_large
) -> bytes:
    """Returns the whole body; arguments and errors as in `receive_body`."""
    data = bytearray()
    await receive_body(request, limits, data.extend, too_large)
    return bytes(data)


def declared_length(request: Request) -> int:
    """Returns the length in bytes that the request's header states, 0 without one."""
    declared = request.headers.get("content-length", "")
    return int(declared) if re.fullmatch(r"[0-9]{1,18}", declared) else 0


def _refuse_compression(request: Request, allowed: tuple[str, ...]) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", *allowed):
        raise UnsupportedEncoding(
            f"The body has the content encoding {encoding[:40]!r}. Send it uncompressed; image files are compressed"
            " already.",
            limit=", ".join((*allowed, "identity")),
        )


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
