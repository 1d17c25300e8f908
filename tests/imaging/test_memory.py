import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from brainmri.imaging.memory import ORDINARY_BYTES, decoding, peak_bytes

ROOT = Path(__file__).parents[2]
SIDE = 2000


def encoded(mode: str, kind: str, side: int = SIDE) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "PNG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("I;16", "TIFF"), ("RGBA", "WEBP")]
)
def test_no_image_takes_more_memory_than_was_estimated_before_it_was_decoded(mode: str, kind: str) -> None:
    command = [sys.executable, "-m", "tests.imaging.peak"]
    done = subprocess.run(command, input=encoded(mode, kind), capture_output=True, cwd=ROOT, check=True)
    took, estimate = map(int, done.stdout.split())
    # What any first image makes the process load.
    assert took <= estimate + 8 * 2**20
    assert estimate <= 40 * SIDE * SIDE


def test_large_images_are_decoded_one_at_a_time_and_ordinary_ones_beside_them() -> None:
    large, ordinary = Image.new("RGBA", (4000, 4000)), Image.new("L", (1024, 1024))
    assert peak_bytes(ordinary) < ORDINARY_BYTES < peak_bytes(large)
    entered = threading.Event()

    def decode_another() -> None:
        with decoding(large):
            entered.set()

    other = threading.Thread(target=decode_another)
    with decoding(large):
        other.start()
        with decoding(ordinary):
            assert not entered.wait(0.1)
    assert entered.wait(10)
    other.join()


def test_an_image_that_cannot_be_decoded_gives_its_place_back() -> None:
    large = Image.new("RGBA", (4000, 4000))
    with pytest.raises(ZeroDivisionError), decoding(large):
        _ = 1 / 0
    with decoding(large):
        pass
