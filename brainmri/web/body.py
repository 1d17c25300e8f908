"""The body of a request, piece by piece, with its limits enforced before anything is kept."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request

from brainmri.batching.deadline import Deadline
from brainmri.errors import BrainMRIError, RequestTooLarge, UnsupportedEncoding, UploadStalled

PACE_WINDOW_S = 20.0
"""Over this long the pace of an upload is measured, in seconds in which the server waits for the client."""


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
