import asyncio
from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.types import Message

from brainmri.batching.call import Deadline
from brainmri.errors import UploadStalled
from brainmri.web import body
from brainmri.web.body import BodyLimits, receive_body


def upload(pieces: int, pause_s: float, min_bytes_per_s: int, take: Callable[[bytes], None] | None = None) -> int:
    """Receives pieces of 100 bytes, a pause before each; returns how many bytes came."""
    left = pieces
    data = bytearray()

    async def receive() -> Message:
        nonlocal left
        await asyncio.sleep(pause_s)
        left -= 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": left > 0}

    async def run() -> None:
        limits = BodyLimits(10**6, 10, Deadline.after(20), min_bytes_per_s=min_bytes_per_s)
        await receive_body(Request({"type": "http", "headers": []}, receive), limits, take or data.extend)

    asyncio.run(run())
    return len(data)


def test_an_upload_that_trickles_is_ended_although_no_pause_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PACE_WINDOW_S", 0.2)
    with pytest.raises(UploadStalled) as caught:
        upload(100, 0.03, 1_000_000)
    assert caught.value.limit == "1000000 bytes a second"
    assert "at least 1000000 bytes a second are needed" in caught.value.message


@pytest.mark.parametrize(("min_bytes_per_s", "pieces"), [(10, 20), (0, 20)])
def test_an_upload_above_the_pace_comes_whole(
    monkeypatch: pytest.MonkeyPatch, min_bytes_per_s: int, pieces: int
) -> None:
    monkeypatch.setattr(body, "PACE_WINDOW_S", 0.05)
    assert upload(pieces, 0.02, min_bytes_per_s) == pieces * 100


def test_a_slow_disk_is_not_held_against_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "PACE_WINDOW_S", 1.0)
    taken = bytearray()

    async def slowly(piece: bytes) -> None:
        await asyncio.sleep(0.2)
        taken.extend(piece)

    upload(8, 0, 1_000_000, slowly)  # type: ignore[arg-type]
    assert len(taken) == 800
