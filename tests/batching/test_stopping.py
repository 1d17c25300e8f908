"""What cancelled requests leave behind: no thread that works, and no memory."""

import asyncio
import io
import threading
import zlib
from typing import Any

import psutil
import pytest
from PIL import Image

from brainmri.batching.engine import Engine
from brainmri.model.bundle import Bundle
from brainmri.model.predictor import Predictor, Slice
from tests.batching.stand_in import asked, until

SIDE = 4800
REQUESTS = 40
WORKERS = 2


def costly() -> bytes:
    """Returns a PNG of 23 megapixels that takes seconds to decode, in pieces of a few bytes each."""
    file = io.BytesIO()
    Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 255)).save(file, "PNG", compress_level=zlib.Z_BEST_SPEED)
    return file.getvalue()


class Watched:
    """How many threads decode, and how often one began."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.begun = 0
        self._lock = threading.Lock()
        read = predictor.read

        def counted(data: bytes, *more: Any) -> Slice:
            self._add(1)
            try:
                return read(data, *more)
            finally:
                self._add(-1)

        monkeypatch.setattr(predictor, "read", counted)

    def _add(self, change: int) -> None:
        with self._lock:
            self.now += change
            self.begun += change > 0


def test_decoding_ends_with_the_requests_that_asked_for_it(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = costly()
    process = psutil.Process()

    async def talk() -> tuple[int, int]:
        predictor = Predictor.open(tiny_bundle)
        engine = Engine(decode_workers=WORKERS)
        await engine.start(lambda: [predictor])
        watched = Watched(predictor, monkeypatch)
        before = process.memory_info().rss, process.num_threads()
        requests = [asyncio.create_task(engine.predict(asked(engine), data)) for _ in range(REQUESTS)]
        await until(lambda: watched.begun > WORKERS)
        threads = process.num_threads() - before[1]
        for request in requests:
            request.cancel()
        ended = await asyncio.gather(*requests, return_exceptions=True)
        assert {type(end) for end in ended} == {asyncio.CancelledError}
        await until(lambda: watched.now == 0)
        begun = watched.begun
        await asyncio.sleep(0.5)
        # Nor does what waited for a thread begin.
        assert (watched.begun, watched.now) == (begun, 0)
        await engine.drain(5)
        return threads, process.memory_info().rss - before[0]

    threads, kept = asyncio.run(talk())
    # One more is for large images.
    assert threads <= WORKERS + 1
    assert kept < 64 * 2**20
