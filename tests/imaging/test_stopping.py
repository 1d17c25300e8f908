import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from brainmri.blocking import Stop, Stopped
from brainmri.imaging.decode import read_picture
from brainmri.imaging.memory import decoding
from tests.imaging.dicom_samples import dataset, file


class StopAfter(Stop):
    """Stops at the given question."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.asked = 0
        self._questions = questions

    def check(self) -> None:
        self.asked += 1
        if self.asked > self._questions:
            self.set()
        super().check()


def noise(kind: str, side: int = 600) -> bytes:
    """Returns a picture that cannot be compressed, so that it is read in many pieces."""
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP"])
def test_a_picture_that_nobody_waits_for_is_not_read(kind: str) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        read_picture(noise(kind), stop=stop)


def test_a_dicom_object_that_nobody_waits_for_is_not_decoded() -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        read_picture(file(dataset(np.zeros((64, 64), np.uint16))), stop=stop)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_decoding_ends_in_the_middle_of_the_file(kind: str) -> None:
    counting = StopAfter(10**9)
    read_picture(noise(kind), stop=counting)
    assert counting.asked > 10
    stop = StopAfter(counting.asked // 2)
    with pytest.raises(Stopped):
        read_picture(noise(kind), stop=stop)
    assert stop.asked == counting.asked // 2 + 1


def test_whoever_waits_to_decode_a_large_image_leaves_the_queue_and_takes_no_place() -> None:
    large, stop, ended = Image.new("RGBA", (4000, 4000)), Stop(), threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped), decoding(large, stop):
            pass
        ended.set()

    with decoding(large):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not ended.wait(0.2)
        begun = time.monotonic()
        stop.set()
        assert ended.wait(10)
        assert time.monotonic() - begun < 5
    waiting.join()
    with decoding(large):
        pass
