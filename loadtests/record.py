"""What a run leaves for `check_slo`: counts and latencies of every second and kind of request, from all workers."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.histogram import Histogram, bucket_of, merged

SCHEMA = 1

MOST_FAULTS = 50
"""Different messages of failures that are kept."""


class BadRecord(ValueError):
    """A file that is no record of a load test; the message says what is wrong."""


@dataclass
class Tally:
    """Requests of one kind in one second.

    Attributes:
        latency: Of the right answers to requests that were due in this second.
        refused: Requests due in this second that were refused with a time to come back.
        failed: Requests due in this second without a right answer.
        finished: Right answers that came in this second, whenever they were due.
        images: In them.
    """

    latency: Histogram = field(default_factory=dict)
    refused: int = 0
    failed: int = 0
    finished: int = 0
    images: int = 0

    def add(self, other: "Tally") -> None:
        """Adds the counts and latencies of another tally to this one."""
        self.latency = merged([self.latency, other.latency])
        self.refused += other.refused
        self.failed += other.failed
        self.finished += other.finished
        self.images += other.images

    @property
    def answered(self) -> int:
        """Requests due in this second that were answered rightly."""
        return sum(self.latency.values())

    @property
    def due(self) -> int:
        """Requests that were due in this second."""
        return self.answered + self.refused + self.failed


@dataclass(frozen=True)
class Span:
    """A stage as it took place.

    Attributes:
        name: For reports.
        load: Arrivals a second, or clients.
        start: Seconds since the epoch.
        end: Seconds since the epoch.
    """

    name: str
    load: float
    start: float
    end: float


@dataclass
class Record:
    """Everything that is recorded of one run.

    Attributes:
        about: What was run, as texts for the report.
        spans: The stages in order.
        tallies: By second since the epoch, and kind of request.
        faults: How often each failure was seen.
        ended_early: Why, if it did.
        kinds: The kinds of request that were to be sent.
    """

    about: dict[str, str] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)
    tallies: dict[tuple[int, str], Tally] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    ended_early: str = ""
    kinds: list[str] = field(default_factory=list)

    def at(self, second: float, kind: str) -> Tally:
        """Returns the tally to count into."""
        return self.tallies.setdefault((int(second), kind), Tally())

    def count_answer(self, kind: str, due: float, latency_ms: float, images: int) -> None:
        """Counts a right answer to a request that was due at `due`, in seconds since the epoch."""
        latency = self.at(due, kind).latency
        bucket = bucket_of(latency_ms)
        latency[bucket] = latency.get(bucket, 0) + 1
        done = self.at(due + latency_ms / 1e3, kind)
        done.finished += 1
        done.images += images

    def count_refusal(self, kind: str, due: float) -> None:
        """Counts a request that was refused."""
        self.at(due, kind).refused += 1

    def count_failure(self, kind: str, due: float, message: str) -> None:
        """Counts a request without a right answer."""
        self.at(due, kind).failed += 1
        fault = f"{kind}: {message}"
        if fault not in self.faults and len(self.faults) >= MOST_FAULTS:
            fault = "others"
        self.faults[fault] = self.faults.get(fault, 0) + 1

    def requests(self) -> int:
        """Returns how many requests were due."""
        return sum(tally.due for tally in self.tallies.values())

    def merge(self, parts: dict[str, Any]) -> None:
        """Adds what a worker has seen, as `counts` tells it."""
        for second, kind, *numbers in parts["tallies"]:
            self.at(second, kind).add(_tally(*numbers))
        for fault, count in parts["faults"].items():
            self.faults[fault] = self.faults.get(fault, 0) + count

    def counts(self) -> dict[str, Any]:
        """Returns tallies and faults in a form that JSON and messages between workers can carry."""
        rows = [
            [second, kind, sorted(tally.latency.items()), tally.refused, tally.failed, tally.finished, tally.images]
            for (second, kind), tally in sorted(self.tallies.items())
        ]
        return {"tallies": rows, "faults": self.faults}

    def clear_counts(self) -> None:
        """Forgets tallies and faults, once they have been handed on."""
        self.tallies, self.faults = {}, {}

    def write(self, path: Path) -> None:
        """Writes it as JSON, with its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        spans = [asdict(span) for span in self.spans]
        document = {
            "schema": SCHEMA,
            "about": self.about,
            "kinds": self.kinds,
            "ended_early": self.ended_early,
            "spans": spans,
            **self.counts(),
        }
        path.write_text(json.dumps(document) + "\n")


def read_record(path: Path) -> Record:
    """Reads what `Record.write` wrote.

    Raises:
        BadRecord: It cannot be read, or is something else.
    """
    try:
        document = json.loads(path.read_text())
        if document["schema"] != SCHEMA:
            raise BadRecord(f"{path} has schema {document['schema']}, and {SCHEMA} is read. Run the load test again.")
        spans = [Span(**span) for span in document["spans"]]
        record = Record(document["about"], spans, ended_early=document["ended_early"], kinds=document.get("kinds", []))
        record.merge(document)
    except OSError as error:
        raise BadRecord(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadRecord):
            raise
        raise BadRecord(f"{path} is no record of a load test ({type(error).__name__}).") from error
    return record


def _tally(latency: Iterable[tuple[int, int]], refused: int, failed: int, finished: int, images: int) -> Tally:
    return Tally({int(bucket): count for bucket, count in latency}, refused, failed, finished, images)


def machine() -> str:
    """Describes this machine in a few words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = f"{len(models)} x {models[0]}" if models else platform.processor() or "unknown processor"
    return f"{processor}, {platform.platform()}, Python {platform.python_version()}"
