import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import ImageTooLarge, ImageUnreadable, InvalidBundle
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.contract import LABELS
from brainmri.model.novelty import Policy
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.tiny import write_tiny_bundle


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.open(tiny_bundle, ModelOptions(limits=DecodeLimits(max_bytes=10_000)))


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


@pytest.fixture
def careful(tmp_path: Path) -> Callable[..., Predictor]:
    """Opens a model that finds everything novel whose square root of a channel is far from 10 (a grey of 100)."""

    def open_with(policy: Policy = "abstain", min_confidence: float = 0.0) -> Predictor:
        bundle = write_tiny_bundle(tmp_path / "careful", tmp_path, novelty_threshold=12, min_confidence=min_confidence)
        return Predictor.open(bundle, ModelOptions(policy=policy))

    return open_with


WHITE, RED = (255, 255, 255), (255, 0, 0)
"""10.3 and 15.3 from grey."""


@pytest.mark.parametrize(("policy", "label"), [("abstain", None), ("no_tumor", "notumor"), ("pass", "glioma")])
def test_a_novel_image_gets_the_label_of_the_policy_and_one_verdict(
    careful: Callable[..., Predictor], png: Callable[..., bytes], policy: Policy, label: str | None
) -> None:
    prediction = careful(policy).predict(png(RED))
    assert prediction.label == label
    assert prediction.verdict == "not_a_brain_mri"
    assert prediction.in_distribution is False
    assert prediction.novelty == pytest.approx(np.sqrt((np.sqrt(255) - 10) ** 2 + 2 * 100), rel=1e-4)


@pytest.mark.parametrize("policy", ["abstain", "no_tumor", "pass"])
def test_no_policy_alters_probabilities(
    careful: Callable[..., Predictor], predictor: Predictor, png: Callable[..., bytes], policy: Policy
) -> None:
    prediction, plain = careful(policy).predict(png(RED)), predictor.predict(png(RED))
    assert prediction.probabilities == plain.probabilities
    assert prediction.confidence == plain.confidence


@pytest.mark.parametrize("policy", ["abstain", "no_tumor", "pass"])
def test_an_image_like_those_of_training_is_answered_under_every_policy(
    careful: Callable[..., Predictor], png: Callable[..., bytes], policy: Policy
) -> None:
    prediction = careful(policy).predict(png(WHITE))
    assert prediction.label == prediction.verdict != "notumor"
    assert prediction.in_distribution is True
    assert prediction.novelty is not None
    assert 0 < prediction.novelty < 12


def test_a_low_confidence_is_unsure_and_keeps_the_label(
    careful: Callable[..., Predictor], png: Callable[..., bytes]
) -> None:
    # White is as much glioma as meningioma and pituitary: 0.33 each.
    prediction = careful(min_confidence=0.5).predict(png(WHITE))
    assert prediction.verdict == "unsure"
    assert prediction.label in LABELS
    assert prediction.in_distribution is True


def test_novel_outweighs_unsure(careful: Callable[..., Predictor], png: Callable[..., bytes]) -> None:
    assert careful(min_confidence=1.0).predict(png(RED)).verdict == "not_a_brain_mri"


def test_a_model_without_detector_says_so(predictor: Predictor, png: Callable[..., bytes]) -> None:
    prediction = predictor.predict(png(RED))
    assert prediction.novelty is None
    assert prediction.in_distribution is None


def test_each_image_of_a_batch_gets_its_own_score(careful: Callable[..., Predictor], png: Callable[..., bytes]) -> None:
    model = careful()
    output = model.infer(np.stack([model.read(png(colour)).tensor for colour in (WHITE, RED)]))
    assert [model.answer(output, row, {}).verdict == "not_a_brain_mri" for row in (0, 1)] == [False, True]


def test_a_runtime_is_calibrated_with_its_own_temperature(tmp_path: Path, png: Callable[..., bytes]) -> None:
    bundle = write_tiny_bundle(
        tmp_path / "b", tmp_path, calibrations=[{"runtime": "openvino-f32", "temperature": 5.0}], temperature=2.0
    )
    powers = [math.exp(value / 5) for value in (10, 0, 1, 0)]
    prediction = Predictor.open(bundle).predict(png(RED))
    assert prediction.confidence == pytest.approx(powers[0] / sum(powers), rel=1e-5)


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
        Predictor.open(bundle)
    with pytest.raises(InvalidBundle, match="trained with the preprocessing 'pad-lanczos-299-v9'"):
        Predictor.check(bundle, "auto")
