import math
from collections.abc import Callable
from pathlib import Path

import pytest

from brainmri.bundle import Bundle
from brainmri.contract import LABELS
from brainmri.errors import ImageTooLarge, ImageUnreadable, InvalidBundle
from brainmri.imaging import DecodeLimits
from brainmri.inference.predictor import Predictor
from tests.tiny import write_tiny_bundle


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.open(tiny_bundle, "auto", 1, DecodeLimits(max_bytes=10_000))


@pytest.mark.parametrize(
    ("colour", "label"),
    [
        ((255, 0, 0), "glioma"),
        ((0, 255, 0), "meningioma"),
        ((0, 0, 0), "notumor"),
        ((0, 0, 255), "pituitary"),
    ],
)
def test_every_class_comes_from_its_logit(
    predictor: Predictor, png: Callable[..., bytes], colour: tuple[int, int, int], label: str
) -> None:
    prediction = predictor.predict(png(colour))
    assert prediction.label == prediction.verdict == label
    assert prediction.confidence == max(prediction.probabilities.values()) == prediction.probabilities[label]
    assert list(prediction.probabilities) == list(LABELS)


def test_probabilities_are_calibrated_with_the_temperature_of_the_contract(
    predictor: Predictor, png: Callable[..., bytes]
) -> None:
    # Red gives the logits 10, 0, 1, 0; the tiny contract says temperature 2.
    powers = [math.exp(value / 2) for value in (10, 0, 1, 0)]
    expected = [power / sum(powers) for power in powers]
    prediction = predictor.predict(png((255, 0, 0)))
    assert list(prediction.probabilities.values()) == pytest.approx(expected, rel=1e-5)


def test_timings_add_up(predictor: Predictor, png: Callable[..., bytes]) -> None:
    timings = predictor.predict(png()).timings_ms
    assert list(timings) == ["decode", "queue", "inference", "total"]
    assert timings["decode"] > 0
    assert timings["inference"] > 0
    assert timings["total"] == pytest.approx(timings["decode"] + timings["queue"] + timings["inference"])


def test_the_model_says_who_it_is(predictor: Predictor, png: Callable[..., bytes]) -> None:
    model = predictor.predict(png()).model
    assert (model.name, model.version, model.runtime) == ("brain_mri_xception", "0.0.1", "openvino-f32")


def test_refusals_pass_through(predictor: Predictor) -> None:
    with pytest.raises(ImageUnreadable):
        predictor.predict(b"text")
    with pytest.raises(ImageTooLarge, match="10000"):
        predictor.predict(b"x" * 10_001)


def test_a_model_of_another_preprocessing_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    other = {**tiny_bundle.contract.input.model_dump(), "preprocessing_version": "pad-lanczos-299-v9"}
    bundle = write_tiny_bundle(tmp_path / "other", tmp_path, input=other)
    with pytest.raises(InvalidBundle, match="trained with the preprocessing 'pad-lanczos-299-v9'"):
        Predictor.open(bundle, "auto", 1, DecodeLimits())
    with pytest.raises(InvalidBundle, match="trained with the preprocessing 'pad-lanczos-299-v9'"):
        Predictor.check(bundle, "auto")
