"""What an explanation costs beside a prediction, for one client that asks for both in turns.

python -m benchmarks.explain --rounds 9 --seconds 2
"""

import time
from http.client import HTTPConnection
from statistics import median
from typing import Annotated

import typer

from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Count, Side, WriteTo
from benchmarks.pictures import pictures
from benchmarks.report import DEFAULT_FOLDER, Report, table
from benchmarks.server import serve

KINDS = {
    "/predict": ("/predict", "application/json"),
    "/explain, JSON": ("/explain", "application/json"),
    "/explain, picture": ("/explain", "image/png"),
}
_HEADERS = {"Content-Type": "image/jpeg"}


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures everything once.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="Length of one measurement.")] = 2,
    side: Side = 224,
    count: Count = 64,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "explain",
) -> None:
    """Measure the median latency of one client, each kind in turn."""
    source, images = pictures(count, side)
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    with serve(bundle.parent) as server:
        connection = HTTPConnection("127.0.0.1", server.http_port, timeout=30)
        for number in range(rounds):
            # Both orders, so that no kind always follows the same one.
            for name in list(KINDS)[:: 1 if number % 2 else -1]:
                found[name].append(latency_ms(connection, *KINDS[name], images, seconds))
        connection.close()
    plain = found["/predict"]
    report = Report("explain", {"slices": f"{count} {source}", "rounds": str(rounds)}, {"median_ms": found})
    rows = [
        [name, f"{median(values):.1f}", f"{median(a / b for a, b in zip(values, plain, strict=True)):.2f}"]
        for name, values in found.items()
    ]
    report.add(*table(["request", "ms, median of the rounds", "ratio to /predict"], rows))
    report.publish(output)


def latency_ms(connection: HTTPConnection, path: str, accept: str, images: list[bytes], seconds: float) -> float:
    """Returns the median latency of one request after another, in milliseconds.

    Raises:
        RuntimeError: An answer was no success.
    """
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end or not times:
        image = images[len(times) % len(images)]
        connection.request("POST", path, image, {**_HEADERS, "Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {body[:200]!r}")
        times.append((time.perf_counter() - begin) * 1000)
    return median(times)


if __name__ == "__main__":
    typer.run(main)
