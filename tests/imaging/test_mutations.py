import json
import subprocess
import sys
from pathlib import Path

import pytest

from brainmri.imaging import read_picture
from tests.imaging.mutations import SOON_S, originals

ROOT = Path(__file__).parents[2]
REFUSALS = {"image_unreadable", "image_too_large", "image_extreme_aspect", "not_brain_mr", "malformed_request"}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("count", "seed"), [(600, 1), pytest.param(20_000, 2, marks=pytest.mark.slow)])
def test_damaged_dicom_and_tiff_files_give_pixels_or_a_refusal_soon_and_no_word(count: int, seed: int) -> None:
    command = [sys.executable, "-m", "tests.imaging.mutations", str(count), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    outcomes = found["outcomes"]
    assert sum(outcomes.values()) == count
    assert set(outcomes) <= {"pixels", *REFUSALS}
    assert outcomes["image_unreadable"] > count / 10
    assert outcomes["pixels"] > count / 10
    assert found["slowest_s"] < SOON_S, found["slowest"]


def test_every_original_is_intact() -> None:
    assert {name: read_picture(data).pixels.shape[:2] for name, data in originals().items()} == dict.fromkeys(
        originals(), (48, 64)
    )
