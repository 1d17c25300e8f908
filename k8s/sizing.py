"""Measures what the Deployment requests: time until ready, memory at rest and at its worst.

`python -m k8s.sizing` starts the released model with the settings of `base/config.env`, on the CPUs of this machine,
and prints JSON. The worst that clients can do within the limits is many of the largest images at once.
"""

import io
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from PIL import Image

from benchmarks.server import Server, serve
from brainmri.settings import Settings
from loadtests.pictures import Picture, multipart

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "k8s" / "base" / "config.env"
CALLERS = 16
MODES = ("RGB", "RGBA", "I;16")
SLICE_PIXELS = 512 * 512
_BOUNDARY = "b"
_SAMPLE_S = 0.02
_TIMEOUT_S = 120


@dataclass(frozen=True)
class Load:
    """One request, which every caller sends at once.

    Attributes:
        name: What it is.
        body: Its bytes.
        content_type: Of the body.
        path: Where it goes.
    """

    name: str
    body: bytes
    content_type: str = "image/png"
    path: str = "/predict"


def pod_settings(config: Path = CONFIG) -> dict[str, str]:
    """Returns the environment of the ConfigMap, less the addresses, which only a pod has."""
    lines = [line for line in config.read_text().splitlines() if line and not line.startswith("#")]
    pairs = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in pairs.items() if not name.endswith(("_HOST", "_PORT"))}


def largest_image(mode: str, max_pixels: int) -> bytes:
    """Returns a square PNG of one colour with as many pixels as are accepted: few bytes, the most to decode."""
    side = int(max_pixels**0.5)
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def batch(images: Sequence[bytes]) -> bytes:
    """Returns the multipart body of `POST /predict_batch`."""
    pictures = [Picture(str(number), image, "image/png") for number, image in enumerate(images)]
    return multipart("images", pictures, _BOUNDARY)


def loads(settings: Settings) -> list[Load]:
    """Returns what is sent: ordinary slices, the largest images, and the longest bodies."""
    largest = [Load(f"largest {mode}", largest_image(mode, settings.max_image_pixels)) for mode in MODES]
    # Bytes after the end of a PNG are read and held, and decode to nothing.
    room = settings.max_request_bytes // settings.max_request_images - len(largest[0].body) - 200
    padded = largest[0].body + bytes(max(room, 0))
    form = f"multipart/form-data; boundary={_BOUNDARY}"
    return [
        Load("slices of 512 pixels", largest_image("L", SLICE_PIXELS)),
        *largest,
        Load("longest bodies", batch([padded] * settings.max_request_images), form, "/predict_batch"),
    ]


def send(server: Server, load: Load) -> int:
    """Sends one request and returns the status of its answer."""
    connection = HTTPConnection("127.0.0.1", server.http_port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", load.path, load.body, {"Content-Type": load.content_type})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


@contextmanager
def sampled(server: Server) -> Iterator[list[float]]:
    """Yields a list that grows by the server's memory, in MiB, as long as the block runs."""
    seen = [server.resident_mib()]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            seen.append(server.resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def measure(bundles: Path = ROOT / "models") -> dict[str, object]:
    """Returns the figures, by name with the unit."""
    named = {name.removeprefix("BRAINMRI_").lower(): value for name, value in pod_settings().items()}
    settings, begin = Settings.model_validate(named), time.monotonic()
    with serve(bundles, pod_settings()) as server:
        figures: dict[str, object] = {
            "ready_s": round(time.monotonic() - begin, 1),
            "rest_mib": round(server.resident_mib()),
        }
        for load in loads(settings):
            with sampled(server) as seen, ThreadPoolExecutor(CALLERS) as callers:
                statuses = Counter(callers.map(send, [server] * CALLERS, [load] * CALLERS))
            figures[load.name] = {"peak_mib": round(max(seen)), "statuses": dict(statuses)}
    return figures


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    sys.stdout.write("\n")
