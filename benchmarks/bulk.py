"""How long interactive requests wait while archives are scored, and how fast that is, by images in work at a time.

python -m benchmarks.bulk --seconds 15
"""

import http.client
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from benchmarks.load import LoadProcess, load_process
from benchmarks.messages import upload
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Side, WriteTo
from benchmarks.pictures import pictures
from benchmarks.reference import Reference, reference_process, sure
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import Server, serve
from benchmarks.traffic import Flow, Item, OpenLoop, Record

WARM_S = 2.0


@dataclass(frozen=True)
class Beside:
    """What interactive and bulk work did to each other.

    Attributes:
        bulk_images: Images of bulk work in work at a time (BRAINMRI_BULK_IMAGES).
        alone_p50_ms: Median latency of `/predict` without bulk work.
        alone_p95_ms: 95th percentile of the same.
        beside_p50_ms: Median latency beside `/score`.
        beside_p95_ms: 95th percentile of the same.
        unanswered: Interactive requests beside `/score` without the right answer.
        score_alone_per_s: Images a second of `/score` alone.
        score_beside_per_s: The same beside interactive requests.
    """

    bulk_images: int
    alone_p50_ms: float
    alone_p95_ms: float
    beside_p50_ms: float
    beside_p95_ms: float
    unanswered: int
    score_alone_per_s: float
    score_beside_per_s: float


class BulkCaller:
    """Has one archive scored again and again, and counts the rows.

    Args:
        port: Of the server.
        archive: A zip file.
    """

    def __init__(self, port: int, archive: bytes) -> None:
        self._port = port
        self._archive = archive
        self._over = threading.Event()
        self.rows: list[float] = []

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Calls until the end of the context, then leaves in the middle of an answer."""
        thread = threading.Thread(target=self._keep_calling)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def per_s(self) -> float:
        """Returns the rows a second after the first seconds, uploads included."""
        begun = self.rows[0] + WARM_S
        return sum(at >= begun for at in self.rows) / (self.rows[-1] - begun)

    def _keep_calling(self) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            connection.request("POST", "/score", self._archive, {"Content-Type": "application/zip"})
            answer = connection.getresponse()
            while not self._over.is_set() and (line := answer.readline()):
                row = json.loads(line)
                if row.get("status") == "failed" or answer.status != 200:
                    raise RuntimeError(f"The server answered {answer.status}: {row}")
                if "summary" not in row:
                    self.rows.append(time.perf_counter())
            connection.close()


def main(
    seconds: Annotated[float, typer.Option(min=5, max=120, help="Length of each measurement.")] = 15,
    rate: Annotated[float, typer.Option(min=0.1, max=100, help="Interactive requests a second.")] = 8,
    sizes: Annotated[str, typer.Option(help="Values of BRAINMRI_BULK_IMAGES, separated by commas.")] = "1,2,4,8",
    side: Side = 224,
    count: Annotated[int, typer.Option(min=4, max=2000, help="How many different images.")] = 200,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "bulk",
) -> None:
    """Measure /predict beside /score."""
    source, images = pictures(count, side)
    with reference_process(bundle) as reference:
        answered = sure(images, reference.run(Reference.predict, images))
    items = [Item(upload(image), answer.verdict) for image, answer in answered]
    archive = packed(images)
    report = Report("bulk", {"bundle": bundle.name, "images": f"{count} {source}", "interactive": f"{rate:g} a second"})
    found = []
    for size in map(int, sizes.split(",")):
        with load_process() as load, serve(bundle.parent, {"BRAINMRI_BULK_IMAGES": str(size)}) as server:
            found.append(measure(server, load, items, archive, size, rate, seconds))
    report.numbers["beside"] = [asdict(one) for one in found]
    tell(report, found)
    report.publish(output)


def packed(images: Sequence[bytes]) -> bytes:
    """Returns the images as one zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{number:05d}.jpg", image)
    return file.getvalue()


def measure(
    server: Server, load: LoadProcess, items: Sequence[Item], archive: bytes, size: int, rate: float, seconds: float
) -> Beside:
    """Measures each alone and then both together, on one server."""

    def interactive() -> Record:
        flow = Flow("interactive", server.http_port, items, OpenLoop(rate, 1))
        return load.run([flow], seconds).records[0]

    alone = interactive()
    bulk_alone = BulkCaller(server.http_port, archive)
    with bulk_alone.calling():
        time.sleep(seconds)
    bulk_beside = BulkCaller(server.http_port, archive)
    with bulk_beside.calling():
        beside = interactive()
    return Beside(
        bulk_images=size,
        alone_p50_ms=alone.latency_ms(50),
        alone_p95_ms=alone.latency_ms(95),
        beside_p50_ms=beside.latency_ms(50),
        beside_p95_ms=beside.latency_ms(95),
        unanswered=sum(not exchange.good for exchange in beside.exchanges),
        score_alone_per_s=bulk_alone.per_s(),
        score_beside_per_s=bulk_beside.per_s(),
    )


def tell(report: Report, found: Sequence[Beside]) -> None:
    """Adds the tables."""
    header = ["BRAINMRI_BULK_IMAGES", "/predict p50, p95 ms alone", "beside /score", "not answered"]
    rows = [
        [
            str(one.bulk_images),
            f"{one.alone_p50_ms:.0f}, {one.alone_p95_ms:.0f}",
            f"{one.beside_p50_ms:.0f}, {one.beside_p95_ms:.0f}",
            str(one.unanswered),
            f"{one.score_alone_per_s:.1f}",
            f"{one.score_beside_per_s:.1f}",
        ]
        for one in found
    ]
    report.add(*table([*header, "/score images/s alone", "beside /predict"], rows))
    report.add(
        *table(
            ["figure", "asked", "value", ""],
            [
                target(
                    "interactive requests beside /score not answered", sum(one.unanswered for one in found), at_most=0
                )
            ],
        )
    )


if __name__ == "__main__":
    typer.run(main)
