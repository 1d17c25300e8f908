"""What decoding and resizing cost, and what ways to make them cheaper would save, with whether the pixels stay equal.

python -m benchmarks.imaging --side 512
"""

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks.options import Count, WriteTo
from benchmarks.pictures import pictures
from benchmarks.report import DEFAULT_FOLDER, Report, table
from brainmri.imaging import SIDE, decode, to_tensor

Way = Callable[[bytes], NDArray[np.uint8]]


def main(
    side: Annotated[int, typer.Option(min=64, max=4096, help="Longer side of the JPEG files, in pixels.")] = 512,
    count: Count = 64,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each takes every way once.")] = 5,
    output: WriteTo = DEFAULT_FOLDER / "imaging",
) -> None:
    """Measure the ways from a file to the network's tensor."""
    source, files = pictures(count, side)
    grey = [_with_one_channel(file) for file in files]
    tensors = [to_tensor(decode(file)) for file in grey]
    ways: dict[str, tuple[Sequence[bytes], Way]] = {
        "as served, grey files": (grey, _served),
        "the same, three equal channels": (grey, _three_channels),
        "decoded at a smaller scale (draft)": (grey, _draft),
        "as served, files as they are": (files, _served),
    }
    times: dict[str, list[float]] = {name: [] for name in (*ways, "SHA-256 of a tensor")}
    for _ in range(rounds):
        for name, (chosen, way) in ways.items():
            times[name].append(_milliseconds(way, chosen))
        times["SHA-256 of a tensor"].append(_milliseconds(lambda one: hashlib.sha256(one).digest(), tensors))
    equal = {name: _equal(way, chosen) for name, (chosen, way) in ways.items()}
    report = Report("imaging", {"images": f"{count} {source}", "rounds": str(rounds)}, {"milliseconds": times})
    rows = [[name, f"{median(values):.2f}", equal.get(name, "")] for name, values in times.items()]
    report.add(*table(["way", "ms an image", "pixels equal to what is served"], rows))
    report.publish(output)


def _served(file: bytes) -> NDArray[np.uint8]:
    return to_tensor(decode(file))


def _three_channels(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as image:
        return to_tensor(np.asarray(image.convert("RGB")))


def _draft(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as image:
        # libjpeg scales by 1, 2, 4 or 8, and never below what is asked for.
        image.draft("L", (SIDE, SIDE))
        return to_tensor(np.asarray(image))


def _equal(way: Way, files: Sequence[bytes]) -> str:
    same = sum(np.array_equal(way(file), _served(file)) for file in files)
    return f"{same} of {len(files)}"


def _milliseconds(way: Callable[..., object], items: Sequence[object]) -> float:
    start = time.perf_counter()
    for item in items:
        way(item)
    return (time.perf_counter() - start) * 1e3 / len(items)


def _with_one_channel(file: bytes) -> bytes:
    written = io.BytesIO()
    with Image.open(io.BytesIO(file)) as image:
        image.convert("L").save(written, "JPEG", quality=90)
    return written.getvalue()


if __name__ == "__main__":
    typer.run(main)
