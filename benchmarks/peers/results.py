"""What was measured so far: one JSON line for each system, runtime and round, so that a run can go on in slices."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REFERENCE = "in process"


@dataclass(frozen=True)
class Load:
    """One kind of input from so many clients.

    Attributes:
        images_per_s: Images a second.
        p50_ms: Median latency.
        p95_ms: 95th percentile of the latency.
        failed: Requests without a result.
        unlike: Share of the results with another label than the reference's.
    """

    images_per_s: float
    p50_ms: float
    p95_ms: float
    failed: int
    unlike: float


@dataclass(frozen=True)
class Row:
    """One round of one system.

    Attributes:
        system: Its name, or `REFERENCE`.
        runtime: `openvino` or `tensorflow`.
        round: Number of the round.
        loads: `JPEG, 32` and so on to what was seen.
        ready_s: Seconds from its start until it could predict.
        resident_mib: Its memory after the loads, all processes together.
        error: Why it could not be measured; empty otherwise.
    """

    system: str
    runtime: str
    round: int
    loads: dict[str, Load] = field(default_factory=dict)
    ready_s: float = 0.0
    resident_mib: float = 0.0
    error: str = ""

    @property
    def key(self) -> tuple[str, str, int]:
        """What the row is about."""
        return self.system, self.runtime, self.round


class Results:
    """Rows in a file, appended one by one.

    Args:
        path: The file; made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, row: Row) -> None:
        """Appends one row."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def rows(self) -> list[Row]:
        """Returns the last row of each system, runtime and round, in the order of the file."""
        latest = {row.key: row for row in self._all()}
        return list(latest.values())

    def _all(self) -> Iterator[Row]:
        if not self._path.is_file():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            content: dict[str, Any] = json.loads(line)
            loads = {name: Load(**load) for name, load in content.pop("loads").items()}
            yield Row(loads=loads, **content)
