"""Admission: which requests are let in, and what all of them hold together, over HTTP and gRPC alike.

Each request is asked about once, when its headers have come and before its body is read. What it holds from then on is
counted here and given back when it ends. `docs/decisions/0026-one-admission.md` lists every limit.

Not for threads: only the event loop calls it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Self

from brainmri.batching.turns import Turns
from brainmri.errors import BrainMRIError, Overloaded, TooManyJobs
from brainmri.settings import Settings

EXPECTED_S = 0.1
"""Seconds an admitted upload counts as expected load. Most have come by then; a slow one must not keep others out."""

MAX_STREAMS = 128
"""Most gRPC streams that mostly wait, such as a health check's `Watch`."""

MAX_STREAMS_PER_CONNECTION = 16
"""Most of them on one connection; a client needs one for each service that it watches."""

_MORE_RPCS = 256
"""Calls under way beside inferences and waiting streams: probes, and those that are told that there is no room."""

_OTHER_MESSAGES = 2
"""Messages of gRPC other than inferences that arrive at a time; they are small where nobody means harm."""

_HURRIED_S = 2.0
"""Longest time in which a message may arrive that others wait for: 16 MB over 64 Mbit/s."""

_HURRIED_OTHERS_S = 0.5

_RETRY_S = 1.0


class Work(Enum):
    """What a request asks for; decides which limits hold for it."""

    PREDICTION = auto()
    """Images or tensors through the queue."""
    BULK = auto()
    """An upload of many images, which takes a slot until it is answered."""
    REPORT = auto()
    """Several images through the queue, and a document of them: both."""
    STREAM = auto()
    """A gRPC stream, which no end of the server waits for."""
    OTHER = auto()
    """Probes, descriptions, the states of jobs."""

    @property
    def predicts(self) -> bool:
        """Whether it needs room in the queue."""
        return self in (Work.PREDICTION, Work.REPORT)

    @property
    def takes_slot(self) -> bool:
        """Whether it takes one of the slots that clients have shares of."""
        return self in (Work.BULK, Work.REPORT)


@dataclass(frozen=True)
class AdmissionLimits:
    """How much may be under way in one process.

    Attributes:
        tensor_requests: Most requests whose tensors are parsed or run.
        bulk_requests: Most uploads of many images.
        bulk_requests_per_client: Most of them of one client; 0 for all but one.
        held_bytes: Most bytes that the bodies of all requests hold in memory.
        messages: Most inferences over gRPC whose messages arrive at a time.
        previews: Most previews that are drawn or wait for a thread.
    """

    tensor_requests: int
    bulk_requests: int
    bulk_requests_per_client: int
    held_bytes: int
    messages: int
    previews: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Returns the limits that the settings give."""
        return cls(
            # Each holds an image at least: more of them than this would only wait to be refused by the queue.
            tensor_requests=settings.max_queue_images + settings.max_batch_size,
            bulk_requests=settings.max_bulk_requests,
            bulk_requests_per_client=settings.max_bulk_requests_per_client,
            held_bytes=settings.max_held_bytes,
            # Each may be as large as a message may be: together half as much as all bodies hold.
            messages=max(settings.max_held_bytes // 2 // settings.max_request_bytes, 1),
            previews=settings.max_queue_images,
        )

    @property
    def rpcs(self) -> int:
        """Most gRPC calls under way, waiting streams included."""
        return self.tensor_requests + MAX_STREAMS + _MORE_RPCS


class Admission:
    """Lets requests in and counts what they hold.

    Args:
        limits: How much may be under way.
        require_room: Raises why the queue could not take so many requests more; see `Engine.require_room_for`.

    Attributes:
        limits: How much may be under way.
        held_bytes: What the bodies of all requests hold in memory.
        rpcs: gRPC calls under way that an orderly end waits for.
        waiting_streams: Streams of gRPC that are open; each takes its slot when its connection is known.
        messages: Turns of gRPC inferences to receive their message, which counts in full while it arrives.
        other_messages: Those of all other gRPC calls.
        previews: Previews that are drawn or wait for a thread.
    """

    def __init__(self, limits: AdmissionLimits, require_room: Callable[[int], None]) -> None:
        self.limits = limits
        self.held_bytes = 0
        self.rpcs = UnderWay()
        self.waiting_streams = Slots(MAX_STREAMS, MAX_STREAMS_PER_CONNECTION, _too_many_streams)
        # One client alone does not take up all calls with messages that never come.
        self.messages = Turns(limits.messages, limits.rpcs // 2, _HURRIED_S)
        self.other_messages = Turns(_OTHER_MESSAGES, limits.rpcs // 2, _HURRIED_OTHERS_S)
        self.previews = Slots(limits.previews, limits.previews, _too_many_previews)
        self._require_room = require_room
        self._streams = 0
        self._tensor_requests = 0
        self._bulk = Slots(
            limits.bulk_requests,
            limits.bulk_requests_per_client or max(limits.bulk_requests - 1, 1),
            _too_many_bulk_requests,
        )
        self._expected: dict[Admitted, float] = {}

    def admit(self, work: Work, client: str = "") -> "Admitted":
        """Lets a request in, or refuses it before its body is read.

        Args:
            work: What it asks for.
            client: Whose it is; needed for work that takes a slot.

        Returns:
            What it holds; close it when the request ends.

        Raises:
            NotReady: It asks for predictions, and no model is loaded and warm, or the engine is draining.
            Overloaded: It asks for predictions, and the queue would have no room even without a deadline.
            TooManyJobs: It is bulk work or a report, and no slot is free.
        """
        admitted = Admitted(self)
        if work.predicts:
            self._require_room(1 + self.expected)
        if work.takes_slot:
            admitted.at_end(self._bulk.take(client))
        if work.predicts:
            self._expected[admitted] = time.monotonic()
        return admitted

    def admit_rpc(self, work: Work) -> "Admitted":
        """Lets a gRPC call in like `admit`, within the number of calls.

        Raises:
            Overloaded: There are too many calls; others as in `admit`.
        """
        if len(self.rpcs) + self._streams >= self.limits.rpcs:
            raise Overloaded.by_requests(self.limits.rpcs)
        admitted = self.admit(work)
        if work is Work.STREAM:
            self._streams += 1
            admitted.at_end(self._end_stream)
        else:
            self.rpcs.enter()
            admitted.at_end(self.rpcs.leave)
        return admitted

    @property
    def expected(self) -> int:
        """Requests that were let in lately and have not reserved their places in the queue yet."""
        overdue = time.monotonic() - EXPECTED_S
        # In order of time, so the first one that is not overdue ends the search.
        while self._expected and next(iter(self._expected.values())) < overdue:
            del self._expected[next(iter(self._expected))]
        return len(self._expected)

    def arrive(self, admitted: "Admitted") -> None:
        """Ends the expectation of a request, which asks the queue itself from now on."""
        self._expected.pop(admitted, None)

    @contextmanager
    def tensors(self) -> Iterator[None]:
        """Counts a request whose tensors are parsed and run, so that bodies do not pile up in front of the threads.

        Raises:
            Overloaded: There are too many.
        """
        if self._tensor_requests >= self.limits.tensor_requests:
            raise Overloaded.by_requests(self.limits.tensor_requests)
        self._tensor_requests += 1
        try:
            yield
        finally:
            self._tensor_requests -= 1

    def _end_stream(self) -> None:
        self._streams -= 1


class Admitted:
    """One request that was let in, and what it holds; as a context manager it gives all of it back.

    Args:
        admission: What let it in.

    Attributes:
        held_bytes: Bytes of its body that are in memory.
    """

    __slots__ = ("_admission", "_ends", "held_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._ends: list[Callable[[], None]] = []
        self.held_bytes = 0

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the request."""
        self.close()

    def at_end(self, end: Callable[[], None]) -> None:
        """Calls `end` when the request ends."""
        self._ends.append(end)

    def close(self) -> None:
        """Ends the request, and gives back what it holds."""
        self.arrive()
        self.give_back(self.held_bytes)
        for end in self._ends:
            end()
        self._ends.clear()

    def arrive(self) -> None:
        """Stops counting as expected, because the request asks the queue itself from now on."""
        self._admission.arrive(self)

    def hold(self, size: int) -> None:
        """Counts `size` bytes more of its body as held in memory. A request that is alone has its own limits only.

        Raises:
            Overloaded: They do not fit beside what the others hold.
        """
        admission, most = self._admission, self._admission.limits.held_bytes
        if admission.held_bytes > self.held_bytes and admission.held_bytes + size > most:
            message = f"Uploads under way would hold more than {most} bytes. Try again in a second."
            raise Overloaded(message, retry_after_s=_RETRY_S, limit=f"{most} bytes")
        admission.held_bytes += size
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Counts `size` bytes less, because they are held no more."""
        self._admission.held_bytes -= size
        self.held_bytes -= size


def _too_many_streams(most: int, of_client: bool) -> Overloaded:
    limit = f"{most} streams of this connection" if of_client else f"{most} streams"
    message = f"{limit} are open, the most there may be. Close some, or ask again in a second."
    return Overloaded(message, retry_after_s=_RETRY_S, limit=limit)


def _too_many_previews(most: int, _of_client: bool) -> Overloaded:
    message = f"{most} previews are under way, the most that are taken. Try again in a second."
    return Overloaded(message, retry_after_s=_RETRY_S, limit=f"{most} previews")


def _too_many_bulk_requests(most: int, of_client: bool) -> TooManyJobs:
    whose = "of yours are under way" if of_client else "are under way"
    message = f"{most} bulk requests {whose}, the most that are taken. Try again in a minute."
    return TooManyJobs(message, retry_after_s=60, limit=f"{most} requests")


class Slots:
    """Counts on the event loop.

    Args:
        most: Most at a time.
        most_per_client: Most of one client.
        refuse: Makes the error from the limit that is reached, and whether it is the client's own.
    """

    def __init__(self, most: int, most_per_client: int, refuse: Callable[[int, bool], BrainMRIError]) -> None:
        self._most = most
        self._most_per_client = most_per_client
        self._refuse = refuse
        self._taken: Counter[str] = Counter()

    def take(self, client: str) -> Callable[[], None]:
        """Takes a slot; returns what gives it back.

        Args:
            client: Whose it is.

        Raises:
            BrainMRIError: None is free, or the client has taken its share.
        """
        if self._taken.total() >= self._most:
            raise self._refuse(self._most, False)
        if self._taken[client] >= self._most_per_client:
            raise self._refuse(self._most_per_client, True)
        self._taken[client] += 1
        return partial(self._give_back, client)

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Takes a slot until the end of the context; see `take`."""
        give_back = self.take(client)
        try:
            yield
        finally:
            give_back()

    def _give_back(self, client: str) -> None:
        self._taken[client] -= 1
        if not self._taken[client]:
            del self._taken[client]


class UnderWay:
    """Counts on the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        """Returns how many are under way."""
        return self._count

    def enter(self) -> None:
        """One more."""
        self._count += 1
        self._none.clear()

    def leave(self) -> None:
        """One less."""
        self._count -= 1
        if not self._count:
            self._none.set()

    async def wait_until_none(self) -> None:
        """Returns when there is none."""
        await self._none.wait()
