import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from brainmri.batching.admission import Admission, AdmissionLimits
from brainmri.batching.call import Call, Deadline
from brainmri.batching.previews import Previews
from brainmri.errors import DeadlineExceeded, Overloaded
from brainmri.imaging import PREVIEW_SIDE, Preview, ReadOptions, SourceImage
from brainmri.imaging.picture import AS_STORED
from brainmri.model.predictor import Predictor
from tests.application import Ask, code_of

Png = Callable[..., bytes]


def tiff_of_pages() -> bytes:
    """Two pages of 16 bits, the first with a bright left half."""
    pages = [np.zeros((40, 60), np.uint16) for _ in range(2)]
    pages[0][:, :30] = 4095
    first, second = (Image.fromarray(page) for page in pages)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=[second])
    return file.getvalue()


def test_wide_greys_come_as_the_8_bits_that_the_network_sees(ask: Ask) -> None:
    response = ask("POST", "/preview", files={"image": tiff_of_pages()})
    picture = Image.open(io.BytesIO(response.content))
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert (response.headers["x-image-frame"], response.headers["x-image-frames"]) == ("0", "2")
    assert (picture.mode, picture.size, picture.getpixel((10, 10)), picture.getpixel((50, 10))) == (
        "L",
        (60, 40),
        255,
        0,
    )


def test_another_frame_can_be_drawn(ask: Ask) -> None:
    response = ask("POST", "/preview?frame=1", files={"image": tiff_of_pages()})
    assert response.headers["x-image-frame"] == "1"
    assert Image.open(io.BytesIO(response.content)).getextrema() == (0, 0)
    missing = ask("POST", "/preview?frame=2", files={"image": tiff_of_pages()})
    assert (missing.status_code, missing.json()["error"]["limit"]) == (400, "2 frames")


def test_a_large_picture_is_scaled_down_and_keeps_its_proportions(ask: Ask) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2048, 1000), (10, 20, 30)).save(file, "PNG")
    picture = Image.open(io.BytesIO(ask("POST", "/preview", files={"image": file.getvalue()}).content))
    assert (picture.mode, picture.size, picture.getpixel((5, 5))) == ("RGB", (1024, 500), (10, 20, 30))


def test_a_bad_file_is_refused_as_by_predict(ask: Ask, png: Png) -> None:
    refused = ask("POST", "/preview", files={"image": b"text"})
    large = ask("POST", "/preview", files={"image": png()}, settings={"max_image_bytes": 10})
    assert (refused.status_code, code_of(refused)) == (400, "image_unreadable")
    assert (large.status_code, code_of(large)) == (413, "image_too_large")


def test_without_a_model_there_is_no_preview(ask: Ask, png: Png) -> None:
    assert ask("POST", "/preview", served=(), files={"image": png()}).status_code == 503


class Slow:
    """Holds previews back until it is let go."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.drawn: list[bytes] = []
        monkeypatch.setattr(predictor, "preview", self.preview)

    def preview(self, data: bytes, _: ReadOptions, most_side: int) -> Preview:
        assert most_side == PREVIEW_SIDE
        self.drawn.append(data)
        assert self.go.wait(20)
        return Preview(data, SourceImage("PNG", "L", 8, 1, 0, AS_STORED))


def test_one_preview_too_many_is_refused_and_one_that_nobody_waits_for_is_not_drawn(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(predictor, monkeypatch)
    call = Call(predictor, Deadline.after(20))

    async def talk() -> bytes:
        previews = Previews(1, Admission(AdmissionLimits(1, 1, 1, 1, 1, previews=2), lambda _: None).previews)
        first = asyncio.create_task(previews.draw(b"first", call))
        gone = asyncio.create_task(previews.draw(b"gone", call))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="2 previews are under way"):
            await previews.draw(b"third", call)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        late = asyncio.create_task(previews.draw(b"late", replace(call, deadline=Deadline.after(0))))
        await asyncio.sleep(0.05)
        slow.go.set()
        with pytest.raises(DeadlineExceeded):
            await late
        return (await first).png

    assert asyncio.run(talk()) == b"first"
    assert slow.drawn == [b"first"]
