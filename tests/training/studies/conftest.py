"""Leaves the model store as it was found."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_classical_models_left(bentoml_home: Path) -> Iterator[None]:
    """Removes the bundles that a test has registered."""
    yield
    for folder in (bentoml_home / "models").glob("brain_mri_xception_*"):
        shutil.rmtree(folder)
