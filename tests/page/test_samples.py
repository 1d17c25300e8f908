"""The samples that ship with the page get the answers that they stand for."""

from pathlib import Path

import pytest

from brainmri.model.bundle import load_bundle
from brainmri.model.predictor import Predictor
from docs.scripts.samples import ANSWERS, SAMPLES

RELEASED = Path(__file__).parents[2] / "models" / "brain_mri_xception"


@pytest.fixture(scope="module")
def released() -> Predictor:
    return Predictor.open(load_bundle(RELEASED))


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_released_model_gives_each_sample_its_answer(released: Predictor, answer: str) -> None:
    assert released.predict((SAMPLES / f"{answer}.jpg").read_bytes()).verdict == answer


def test_there_is_one_sample_for_each_answer() -> None:
    assert {path.stem for path in SAMPLES.glob("*.jpg")} == set(ANSWERS)
