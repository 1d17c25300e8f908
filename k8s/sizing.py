"""Measures what the Deployment requests: time until ready, memory at rest and at its worst.

`python -m k8s.sizing` starts the released model as a pod runs it, with the settings of `base/config.env`, on the CPUs
of this machine. The worst that clients can do within the limits is many of the largest images at once.
"""

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from PIL import Image

from benchmarks.server import Server, serve
from brainmri.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "k8s" / "base" / "config.env"
CALLERS = 16
_SAMPLE_S = 0.02
_TIMEOUT_S = 120


def pod_settings(config: Path = CONFIG) -> dict[str, str]:
    """Returns the environment of the ConfigMap, less what only a pod has: its addresses and its bundles."""
    lines = [line for line in config.read_text().splitlines() if line and not line.startswith("#")]
    pairs = dict(line.split("=", 1) for line in lines)
    return {name: value for name, value in pairs.items() if not name.endswith(("_HOST", "_PORT", "_BUNDLES"))}


def largest_image(mode: str, max_pixels: int) -> bytes:
    """Returns a square PNG of one colour with as many pixels as are accepted; few bytes, the most to decode."""
    side = int(max_pixels**0.5)
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@contextmanager
def peak_mib(server: Server) -> Iterator[list[float]]:
    """Yields a list that holds one number at the end: the most memory that the server held meanwhile, in MiB."""
    seen = [server.resident_mib()]
    peak: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            seen.append(server.resident_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        peak.append(max(seen))


def post(server: Server, body: bytes, content_type: str = "image/png", path: str = "/predict") -> int:
    """Sends one request and returns the status of its answer."""
    connection = HTTPConnection("127.0.0.1", server.http_port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": content_type})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def batch(images: Sequence[bytes]) -> bytes:
    """Returns the multipart body of `POST /predict_batch`, with the boundary `b`."""
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return b"".join(head + image + b"\r\n" for image in images) + b"--b--\r\n"


def measure(bundles: Path = ROOT / "models") -> dict[str, object]:
    """Returns the figures, by name with the unit."""
    settings = Settings.model_validate(
        {name.removeprefix("BRAINMRI_").lower(): value for name, value in pod_settings().items()}
    )
    begin = time.monotonic()
    with serve(bundles, pod_settings()) as server:
        figures: dict[str, object] = {"ready_s": round(time.monotonic() - begin, 1)}
        figures["rest_mib"] = round(server.resident_mib())
        small = largest_image("L", 512 * 512)
        loads: dict[str, Callable[[], int]] = {"small_images": lambda: post(server, small)}
        for mode in ("RGB", "RGBA", "I;16"):
            large = largest_image(mode, settings.max_image_pixels)
            loads[f"largest_{mode}"] = lambda large=large: post(server, large)  # type: ignore[misc]
        padded = large + bytes(settings.max_request_bytes // settings.max_request_images - len(large) - 200)
        full = batch([padded] * settings.max_request_images)
        loads["full_batches"] = lambda: post(server, full, "multipart/form-data; boundary=b", "/predict_batch")
        for name, load in loads.items():
            with peak_mib(server) as peak, ThreadPoolExecutor(CALLERS) as callers:
                statuses = list(callers.map(lambda _, load=load: load(), range(CALLERS)))
            counts = {status: statuses.count(status) for status in sorted(set(statuses))}
            figures[name] = {"peak_mib": round(peak[0]), "statuses": counts}
            sys.stderr.write(f"{name}: {figures[name]}\n")
    return figures


if __name__ == "__main__":
    json.dump(measure(), sys.stdout, indent=2)
    sys.stdout.write("\n")
