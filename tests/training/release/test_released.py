"""The released bundle is what its figures say: the table of answers adds up, and a sample of it is measured again."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.contract import LABELS
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor
from training.data.outliers import PHOTOGRAPHS
from training.metrics import macro_f1
from training.release.pipeline import TOLERANCE
from training.release.predictions import PREDICTIONS, PredictionRow, read_predictions

SAMPLE = 120
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


def of_split(rows: list[PredictionRow], split: str) -> list[PredictionRow]:
    if split == "leak_free":
        return [row for row in rows if row.split == "given" and not row.leak]
    return [row for row in rows if row.split == split]


@pytest.mark.parametrize("split", ["given", "leak_free", "grouped"])
def test_the_answers_add_up_to_the_figures(rows: list[PredictionRow], metrics: dict[str, Any], split: str) -> None:
    chosen = of_split(rows, split)
    labels, predicted = (
        np.array([LABELS.index(getattr(row, name)) for row in chosen]) for name in ("label", "predicted")
    )
    assert len(chosen) == metrics[split]["images"]
    assert (labels == predicted).mean() == pytest.approx(metrics[split]["accuracy"])
    assert macro_f1(predicted, labels) == pytest.approx(metrics[split]["macro_f1"])


def test_the_figures_are_those_of_this_bundle(released: Bundle, metrics: dict[str, Any]) -> None:
    evaluated = metrics["evaluated"]
    assert evaluated["model"] == released.contract.tag
    assert evaluated["bundle_sha256"] == released.contract.digest()
    assert evaluated["split_sha256"] == released.contract.provenance.split_sha256


@pytest.mark.data
@pytest.mark.parametrize("split", ["grouped", "leak_free"])
def test_a_sample_is_answered_as_published(
    rows: list[PredictionRow], predictor: Predictor, brain_mri_data: Path, split: str
) -> None:
    chosen = of_split(rows, split)
    sample = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:SAMPLE]]
    answers = [predictor.predict((brain_mri_data / "brain-mri" / row.name).read_bytes()) for row in sample]
    # int8 kernels round differently from processor to processor; 0005 tells how far.
    same = [_likeliest(answer) == row.predicted for answer, row in zip(answers, sample, strict=True)]
    assert sum(same) >= 0.98 * len(sample)
    moved = [abs(answer.confidence - row.confidence) for answer, row in zip(answers, sample, strict=True)]
    assert np.mean(moved) < 0.02
    accuracies = [
        np.mean([found == row.label for found, row in zip(labels, sample, strict=True)])
        for labels in ([_likeliest(answer) for answer in answers], [row.predicted for row in sample])
    ]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=TOLERANCE + 1 / len(sample))


@pytest.mark.data
def test_novelty_is_as_published(
    rows: list[PredictionRow], predictor: Predictor, metrics: dict[str, Any], brain_mri_data: Path
) -> None:
    chosen = of_split(rows, "grouped")[:40]
    slices = [predictor.predict((brain_mri_data / "brain-mri" / row.name).read_bytes()) for row in chosen]
    differences = [abs((answer.novelty or 0) - row.novelty) for answer, row in zip(slices, chosen, strict=True)]
    assert np.mean(differences) < 0.02
    photographs = sorted((brain_mri_data / PHOTOGRAPHS).iterdir())[::5][:PHOTOGRAPHS_SAMPLED]
    passed = [bool(predictor.predict(path.read_bytes()).in_distribution) for path in photographs]
    # Three standard errors of a share on so few.
    published = metrics["novelty"]["far"]["passed"]
    assert np.mean(passed) <= published + 3 * np.sqrt(max(published, 0.02) / len(passed))


def _likeliest(answer: Prediction) -> str:
    return max(answer.probabilities, key=lambda label: answer.probabilities[label])
