"""The released bundle is what its figures say: the table of answers adds up, and a sample of it is measured again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmri.model.bundle import PREDICTIONS, Bundle, load_bundle
from brainmri.model.contract import LABELS
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor
from training.data.outliers import PHOTOGRAPHS
from training.metrics import macro_f1
from training.release.gate import read_bars, shortfalls
from training.release.predictions import PredictionRow, read_predictions

SAMPLE = 60
PHOTOGRAPHS_SAMPLED = 40


@pytest.fixture(scope="module")
def released() -> Bundle:
    """The bundle in models/."""
    return load_bundle(Path(__file__).parents[3] / "models" / "brain_mri_xception")


@pytest.fixture(scope="module")
def rows(released: Bundle) -> list[PredictionRow]:
    return read_predictions(released.folder / PREDICTIONS)


@pytest.fixture(scope="module")
def metrics(released: Bundle) -> dict[str, Any]:
    return dict(json.loads((released.folder / "metrics.json").read_text()))


@pytest.fixture(scope="module")
def predictor(released: Bundle) -> Predictor:
    return Predictor.open(released, ModelOptions(runtime="openvino", threads=os.cpu_count() or 1))


def of_subset(rows: list[PredictionRow], subset: str) -> list[PredictionRow]:
    return [row for row in rows if row.subset == subset]


def share(rows: list[PredictionRow], verdict: str) -> float:
    return float(np.mean([row.verdict == verdict for row in rows]))


def test_the_answers_add_up_to_the_figures_by_person(rows: list[PredictionRow], metrics: dict[str, Any]) -> None:
    chosen, person = of_subset(rows, "test"), metrics["person"]
    labels, predicted = (
        np.array([LABELS.index(getattr(row, name)) for row in chosen]) for name in ("label", "predicted")
    )
    assert len(chosen) == person["images"]
    assert (labels == predicted).mean() == pytest.approx(person["accuracy"])
    assert macro_f1(predicted, labels) == pytest.approx(person["macro_f1"])
    recall = {label: float((predicted[labels == i] == i).mean()) for i, label in enumerate(LABELS)}
    assert recall == pytest.approx(person["recall"])
    assert share(chosen, "unsure") == pytest.approx(person["unsure"])


def test_the_answers_add_up_to_the_figures_of_the_other_source(
    rows: list[PredictionRow], metrics: dict[str, Any]
) -> None:
    chosen, external = of_subset(rows, "external"), metrics["external"]["br35h"]
    assert {row.label for row in chosen} == {"tumour"}
    assert len(chosen) == external["images"]
    assert np.mean([row.predicted != "notumor" for row in chosen]) == pytest.approx(external["found"])
    for figure, verdict in (("called_notumor", "notumor"), ("unsure", "unsure"), ("refused", "not_a_brain_mri")):
        assert share(chosen, verdict) == pytest.approx(external[figure])


def test_the_answers_add_up_to_the_figure_of_normal_slices(rows: list[PredictionRow], metrics: dict[str, Any]) -> None:
    normal = [row for row in of_subset(rows, "test") if row.label == "notumor"]
    assert len(normal) == metrics["normal"]["images"]
    assert share(normal, "notumor") == pytest.approx(metrics["normal"]["called_notumor"])


def test_nobody_who_was_tested_is_tested_as_two_people_or_twice(rows: list[PredictionRow]) -> None:
    chosen = of_subset(rows, "test")
    assert len({row.name for row in chosen}) == len(chosen)
    assert all(row.person for row in chosen if row.label != "notumor")
    units = [row.group for row in chosen if row.label == "notumor"]
    assert len(set(units)) == len(units)


def test_every_figure_below_what_a_release_has_to_reach_is_named_by_the_card(
    released: Bundle, metrics: dict[str, Any]
) -> None:
    card = released.card()
    assert all(line in card for line in shortfalls(metrics, read_bars()))
    assert ("## Below the bar" in card) == bool(shortfalls(metrics, read_bars()))


def test_the_figures_are_those_of_this_bundle(released: Bundle, metrics: dict[str, Any]) -> None:
    evaluated = metrics["evaluated"]
    assert evaluated["model"] == released.contract.tag
    assert evaluated["bundle_sha256"] == released.contract.digest()
    assert evaluated["split_sha256"] == released.contract.provenance.split_sha256


@pytest.mark.data
@pytest.mark.parametrize("subset", ["test", "external"])
def test_a_sample_is_answered_as_published(
    rows: list[PredictionRow], predictor: Predictor, brain_mri_data: Path, subset: str
) -> None:
    chosen = of_subset(rows, subset)
    sample = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:SAMPLE]]
    answers = [predictor.predict((brain_mri_data / row.name).read_bytes()) for row in sample]
    # int8 kernels round differently from processor to processor; 0005 tells how far.
    same = [_likeliest(answer) == row.predicted for answer, row in zip(answers, sample, strict=True)]
    assert sum(same) >= 0.98 * len(sample)
    moved = [abs(answer.confidence - row.confidence) for answer, row in zip(answers, sample, strict=True)]
    assert np.mean(moved) < 0.02


@pytest.mark.data
def test_novelty_is_as_published(
    rows: list[PredictionRow], predictor: Predictor, metrics: dict[str, Any], brain_mri_data: Path
) -> None:
    chosen = of_subset(rows, "test")[::20][:40]
    slices = [predictor.predict((brain_mri_data / row.name).read_bytes()) for row in chosen]
    differences = [abs((answer.novelty or 0) - row.novelty) for answer, row in zip(slices, chosen, strict=True)]
    assert np.mean(differences) < 0.02
    photographs = sorted((brain_mri_data / PHOTOGRAPHS).iterdir())[::5][:PHOTOGRAPHS_SAMPLED]
    passed = [bool(predictor.predict(path.read_bytes()).in_distribution) for path in photographs]
    # Three standard errors of a share on so few.
    published = metrics["novelty"]["far"]["passed"]
    assert np.mean(passed) <= published + 3 * np.sqrt(max(published, 0.02) / len(passed))


def _likeliest(answer: Prediction) -> str:
    return max(answer.probabilities, key=lambda label: answer.probabilities[label])
