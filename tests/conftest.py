"""Shared fixtures."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from brainmri.model.bundle import Bundle
from tests.postgres import PROGRAMS, Cluster, cluster
from tests.tiny import write_tiny_bundle

_LONGEST = ("container", "training", "page", "e2e", "monitoring")
"""Folders whose tests take the longest."""


@pytest.fixture(scope="session", autouse=True)
def bentoml_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home for BentoML, set before anything imports it, so that no test touches the user's store."""
    home = tmp_path_factory.mktemp("bentoml")
    os.environ.update(BENTOML_HOME=str(home), BENTOML_DO_NOT_TRACK="True")
    return home


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Bundle:
    """A valid bundle whose network answers from the mean colour; see `tests.tiny`."""
    return write_tiny_bundle(tmp_path / "brain_mri_xception", tmp_path)


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """Encodes a square of one colour as PNG: `png((255, 0, 0), side=64)`."""

    def encode(colour: tuple[int, int, int] | int = (255, 0, 0), side: int = 64) -> bytes:
        mode = "L" if isinstance(colour, int) else "RGB"
        file = io.BytesIO()
        Image.new(mode, (side, side), colour).save(file, "PNG")
        return file.getvalue()

    return encode


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `data` where no dataset is at hand, and begins with the folders that take longest."""
    for item in items:
        if item.get_closest_marker("data") and not os.environ.get("BRAINMRI_DATA"):
            item.add_marker(pytest.mark.skip(reason="BRAINMRI_DATA does not name a folder with real slices"))
    items.sort(key=lambda item: _LONGEST.index(folder) if (folder := _folder(item)) in _LONGEST else len(_LONGEST))


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(scope="session")
def brain_mri_data() -> Path:
    """The folder that BRAINMRI_DATA names, with `brain-mri/` and `not-brain-mri/`; for tests marked `data`."""
    folder = Path(os.environ["BRAINMRI_DATA"]).resolve()
    assert (folder / "brain-mri").is_dir(), f"BRAINMRI_DATA is {folder}, which holds no brain-mri/."
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL of the tests' own."""
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed")
    with cluster() as running:
        yield running
