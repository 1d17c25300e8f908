"""What the image keeps of imagecodecs decodes all that `brainmri.imaging` decodes with the whole of it."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from brainmri.imaging import read_picture
from container import unused
from tests.imaging.dicom_samples import JPEG_2000, encoded, every_syntax, twelve_bits

ROOT = Path(__file__).parents[2]

DECODE = """
import pickle, sys
import imagecodecs
from brainmri.imaging import read_picture
assert imagecodecs.__file__.startswith(sys.argv[1]), imagecodecs.__file__
pixels = {name: read_picture(data).pixels for name, data in pickle.load(sys.stdin.buffer).items()}
pickle.dump(pixels, sys.stdout.buffer)
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A folder of packages with what is kept of imagecodecs."""
    found = importlib.util.find_spec("imagecodecs")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parents[1]
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name in ("imagecodecs", "imagecodecs.libs"):
        shutil.copytree(installed / name, packages / name, copy_function=os.link)
    unused.remove(tmp_path, [pattern for pattern in unused.UNUSED if pattern.startswith("imagecodecs")])
    return packages


def files() -> dict[str, bytes]:
    colours = np.stack([twelve_bits()] * 3, axis=-1).copy()
    return {
        **every_syntax(),
        "htj2k": encoded(twelve_bits(), imagecodecs.htj2k_encode(twelve_bits()), JPEG_2000),
        "wide png": bytes(imagecodecs.png_encode(colours)),
        "wide tiff": bytes(imagecodecs.tiff_encode(colours)),
        "wide tiff, lzw": bytes(imagecodecs.tiff_encode(colours, compression="lzw")),
    }


def test_what_is_kept_of_the_codecs_decodes_every_file(kept: Path) -> None:
    modules = {path.name.partition(".")[0] for path in (kept / "imagecodecs").glob("_*.so")}
    assert modules == unused.CODECS
    everything = files()
    done = subprocess.run(
        [sys.executable, "-c", DECODE, str(kept)],
        input=pickle.dumps(everything),
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{kept}:{ROOT}"},
    )
    assert done.returncode == 0, done.stderr.decode()
    decoded = pickle.loads(done.stdout)  # noqa: S301 -- written by the process above
    for name, data in everything.items():
        assert np.array_equal(decoded[name], read_picture(data).pixels), name
