"""How long a start takes, and what the first request after ready waits beside those that follow.

python -m benchmarks.first_request --starts 7
"""

import http.client
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, WriteTo
from benchmarks.pictures import pictures
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import Server, serve

_COUNT = 16


@dataclass(frozen=True)
class Start:
    """Times and memory of one start.

    Attributes:
        ready_s: Until /readyz answered 200; bundle and byte code were there from an earlier start.
        first_ms: Latency of the first JPEG.
        steady_ms: Median latency of those that follow, one after the other.
        resident_mib: Resident memory of all its processes after that, in MiB.
    """

    ready_s: float
    first_ms: float
    steady_ms: float
    resident_mib: float


def main(
    starts: Annotated[int, typer.Option(min=1, max=50, help="How often to start the service.")] = 7,
    requests: Annotated[int, typer.Option(min=5, max=1000, help="Requests after the first one.")] = 40,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "first_request",
) -> None:
    """Measure starts of the service."""
    source, images = pictures(_COUNT, 224)
    seen = []
    with tempfile.TemporaryDirectory(prefix="brainmri-benchmark-") as home:
        for number in range(starts + 1):
            begun = time.monotonic()
            with serve(bundle.parent, {"BENTOML_HOME": home}) as server:
                seen.append(_measure(server, time.monotonic() - begun, images, requests))
            typer.echo(f"start {number} of {starts}", err=True)
    # Start 0 filled the model store.
    report = _report(seen[1:], {"bundle": bundle.name, "images": f"{_COUNT} {source}", "starts": str(starts)})
    report.publish(output)


def _measure(server: Server, ready_s: float, images: Sequence[bytes], requests: int) -> Start:
    first, *others = (_latency_ms(server.http_port, images[i % len(images)]) for i in range(requests + 1))
    return Start(ready_s, first, statistics.median(others), server.resident_mib())


def _latency_ms(port: int, image: bytes) -> float:
    """Sends one image on a connection of its own, as the first one needs one too."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/predict", image, {"Content-Type": "image/jpeg"})
    response = connection.getresponse()
    response.read()
    connection.close()
    if response.status != http.client.OK:
        raise SystemExit(f"A request was answered {response.status}.")
    return (time.perf_counter() - begun) * 1e3


def _report(seen: Sequence[Start], setting: dict[str, str]) -> Report:
    report = Report("first_request", setting, {"starts": [asdict(one) for one in seen]})
    rows = [
        [f"{one.ready_s:.1f}", f"{one.first_ms:.1f}", f"{one.steady_ms:.1f}", f"{one.first_ms / one.steady_ms:.2f}"]
        for one in seen
    ]
    report.add(*table(["ready s", "first request ms", "steady median ms", "ratio"], rows))
    ratio = statistics.median(one.first_ms / one.steady_ms for one in seen)
    found = [
        target("first request / steady median", ratio, at_most=1.5),
        target("seconds until ready", statistics.median(one.ready_s for one in seen), at_most=5),
        target("resident memory, MB", statistics.median(one.resident_mib for one in seen) * 1.048576, at_most=700),
    ]
    report.add(*table(["figure", "asked", "median", ""], found))
    return report


if __name__ == "__main__":
    typer.run(main)
