"""The largest legal files beside ordinary ones: the server's memory, and what honest clients wait.

python -m benchmarks.large_images --seconds 30
"""

import io
from typing import Annotated

import imagecodecs
import numpy as np
import typer
from PIL import Image

from benchmarks.dicom import dicom_object
from benchmarks.load import LoadProcess, load_process
from benchmarks.messages import upload
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, WriteTo
from benchmarks.pictures import pictures
from benchmarks.report import DEFAULT_FOLDER, Report, table, target
from benchmarks.server import Server, serve
from benchmarks.traffic import ClosedLoop, Flow, Item, Load
from benchmarks.watch import Sample, watch

_LEAD_S = 2.0
_HONEST_CLIENTS = 4
_MOST_MIB = 1.2 * 1024
_SIDE = 5000
"""Of a picture of 25 million pixels, the most that are accepted."""


def main(
    seconds: Annotated[float, typer.Option(min=5, max=120, help="Length of each of the two loads.")] = 30,
    clients: Annotated[int, typer.Option(min=1, max=512, help="Clients that send large files.")] = 64,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "large_images",
) -> None:
    """Measure ordinary uploads alone, then beside the largest legal files."""
    source, images = pictures(32, 512)
    ordinary = [Item(upload(image)) for image in images]
    large = {name: Item(upload(file)) for name, file in largest().items()}
    with serve(bundle.parent) as server, load_process() as load:
        honest = Flow("ordinary", server.http_port, ordinary, ClosedLoop(_HONEST_CLIENTS))
        hostile = Flow("large", server.http_port, list(large.values()), ClosedLoop(clients))
        alone, before = _measure(server, load, [honest], seconds)
        beside, during = _measure(server, load, [honest, hostile], seconds)
    report = Report("large_images", {"ordinary": f"{len(images)} {source}", "large": ", ".join(large)}, {})
    _add(report, alone, beside, before, during)
    report.publish(output)


def _measure(server: Server, load: LoadProcess, flows: list[Flow], seconds: float) -> tuple[Load, list[Sample]]:
    return watch(server, load.start(flows, _LEAD_S + seconds), 0.1, seconds + 120)


def _add(report: Report, alone: Load, beside: Load, before: list[Sample], during: list[Sample]) -> None:
    p95 = [load.records[0].latency_ms(95, _LEAD_S) for load in (alone, beside)]
    peaks = [max(sample.resident_mib for sample in samples) for samples in (before, during)]
    statuses = [load.records[0].statuses() for load in (alone, beside)], beside.records[1].statuses()
    report.numbers["large_images"] = {"p95_ms": p95, "peak_mib": peaks, "statuses": statuses}
    report.add(f"Ordinary answers by status, alone and beside: {statuses[0]}. Large ones: {statuses[1]}.")
    report.add(f"p95 of ordinary uploads: {p95[0]:.0f} ms alone, {p95[1]:.0f} ms beside the large ones.")
    rows = [
        target("p95 of ordinary uploads / alone", p95[1] / p95[0], at_most=2.0),
        target("resident memory, MiB", peaks[1], at_most=_MOST_MIB),
        target("resident memory of ordinary uploads, MiB", peaks[0], at_most=_MOST_MIB),
    ]
    report.add(*table(["figure", "asked", "value", ""], rows))


def largest() -> dict[str, bytes]:
    """Returns small files of 25 million pixels, by name: those that take the most memory for each byte sent."""
    grey = Image.new("L", (_SIDE, _SIDE), 40)
    transparent = grey.convert("RGBA")
    wide = np.full((_SIDE, _SIDE), 700, np.uint16)
    return {
        "JPEG": _encoded(grey.convert("RGB"), "JPEG"),
        "PNG with alpha": _encoded(transparent, "PNG", compress_level=1),
        "PNG of 16 bits": _encoded(Image.fromarray(wide), "PNG", compress_level=1),
        "WebP with alpha": _encoded(transparent, "WEBP", lossless=True, method=0, quality=0),
        "TIFF of 32 bits": _encoded(Image.fromarray(wide.astype(np.int32)), "TIFF", compression="tiff_adobe_deflate"),
        "TIFF of floats": _encoded(Image.fromarray(wide.astype(np.float32)), "TIFF", compression="tiff_adobe_deflate"),
        "DICOM, deflated": dicom_object(wide, "1.2.840.10008.1.2.1.99", None),
        "DICOM, JPEG 2000": dicom_object(
            wide,
            "1.2.840.10008.1.2.4.90",
            lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True),
        ),
    }


def _encoded(picture: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


if __name__ == "__main__":
    typer.run(main)
