"""What a load generator is told to send, and what it saw."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from benchmarks.summary import percentile

LOST = "lost"
"""Status of a request whose connection failed, or whose answer could not be understood."""

UNANSWERED = "unanswered"
"""Status of a request that had no answer when the load ended."""

LEFT = "left"
"""Status of a request whose client closed the connection on purpose."""

GOOD = frozenset({"200", "OK"})
"""The statuses, of HTTP and of gRPC, that carry a result."""

Reader = Literal["verdict", "label", "rest_probabilities", "grpc_probabilities"]
Manner = Literal["whole", "slow", "leave"]


@dataclass(frozen=True)
class Item:
    """One request, ready to be sent.

    Attributes:
        payload: HTTP: the whole request, head and body. gRPC: the serialized message.
        expected: The answer that is right, as the flow's reader tells it.
        images: How many images it carries.
    """

    payload: bytes
    expected: str = ""
    images: int = 1


@dataclass(frozen=True)
class ClosedLoop:
    """Clients that send the next request when they have the answer to the last.

    Attributes:
        clients: How many, each with a connection of its own.
    """

    clients: int


@dataclass(frozen=True)
class OpenLoop:
    """Requests that arrive at random (Poisson), whether or not earlier ones are answered.

    Attributes:
        rate_per_s: Mean arrivals a second.
        seed: Of the arrival times.
        most_in_flight: Arrivals beyond it are not sent, and counted.
    """

    rate_per_s: float
    seed: int = 0
    most_in_flight: int = 1000


@dataclass(frozen=True)
class Flow:
    """One kind of traffic.

    Attributes:
        name: For the report.
        port: On the loopback address.
        items: Sent in turn, again and again.
        schedule: When.
        reader: How to read an answer.
        method: Path of a gRPC method; empty for HTTP.
        manner: `slow` sends the body in pieces with pauses, `leave` closes the connection before the answer; HTTP only.
        start_s: When it begins, in seconds from the start of the load.
        end_s: When its last request is sent; None means with the load's.
    """

    name: str
    port: int
    items: Sequence[Item]
    schedule: ClosedLoop | OpenLoop
    reader: Reader = "verdict"
    method: str = ""
    manner: Manner = "whole"
    start_s: float = 0
    end_s: float | None = None


class Exchange(NamedTuple):
    """One request and what became of it.

    Attributes:
        item: Number of the item in the flow.
        due_s: When it was to be sent, in seconds from the start of the load.
        latency_s: From then to the end of the answer: an open loop counts the time that it waited for its turn.
        status: HTTP status or name of the gRPC code, or `LOST`, `UNANSWERED`, `LEFT`.
        retry_after_s: What the answer said, in seconds; None if nothing.
        answer: As the flow's reader tells it.
    """

    item: int
    due_s: float
    latency_s: float
    status: str
    retry_after_s: float | None = None
    answer: str = ""

    @property
    def good(self) -> bool:
        """Tells whether the answer carries a result."""
        return self.status in GOOD


@dataclass
class Record:
    """What one flow saw.

    Attributes:
        flow: Its name.
        exchanges: In the order of their ends.
        unsent: Arrivals that found too many requests in flight.
    """

    flow: str
    exchanges: list[Exchange] = field(default_factory=list)
    unsent: int = 0

    def between(self, start_s: float, end_s: float) -> list[Exchange]:
        """Returns the exchanges that ended within `[start_s, end_s)`."""
        return [one for one in self.exchanges if start_s <= one.due_s + one.latency_s < end_s]

    def rate_per_s(self, start_s: float, end_s: float) -> float:
        """Returns the results a second in that time."""
        return sum(one.good for one in self.between(start_s, end_s)) / (end_s - start_s)

    def latency_ms(self, percent: float, start_s: float = 0) -> float:
        """Returns a percentile of the latency of the results that ended at `start_s` or later, in milliseconds."""
        late = self.between(start_s, float("inf"))
        return percentile([one.latency_s * 1e3 for one in late if one.good], percent)

    def statuses(self) -> dict[str, int]:
        """Returns how often each status was seen."""
        counts: dict[str, int] = {}
        for one in self.exchanges:
            counts[one.status] = counts.get(one.status, 0) + 1
        return dict(sorted(counts.items()))

    def wrong(self, items: Sequence[Item]) -> list[Exchange]:
        """Returns the exchanges whose answer is not the expected one; those without any answer are among them."""
        return [one for one in self.exchanges if one.answer != items[one.item].expected]


@dataclass(frozen=True)
class Load:
    """What a load generator saw.

    Attributes:
        records: One for each flow, in order.
        seconds: How long requests were sent.
        cpu_s: CPU time that the generator itself took, in seconds.
    """

    records: list[Record]
    seconds: float
    cpu_s: float

    @property
    def cpu_ms_per_request(self) -> float:
        """What the generator costs, in CPU milliseconds for each request."""
        return self.cpu_s * 1e3 / max(1, sum(len(record.exchanges) for record in self.records))
