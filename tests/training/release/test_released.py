"""The released bundle still carries the table of answers that its figures, since withdrawn, were made from."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.contract import LABELS
from training.metrics import macro_f1


@pytest.fixture(scope="module")
def released() -> Bundle:
    """The bundle in models/."""
    return load_bundle(Path(__file__).parents[3] / "models" / "brain_mri_xception")


def rows_of(bundle: Bundle, split: str) -> list[dict[str, str]]:
    with (bundle.folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if split == "leak_free":
        return [row for row in rows if row["split"] == "given" and row["leak"] == "False"]
    return [row for row in rows if row["split"] == split]


@pytest.mark.parametrize("split", ["given", "leak_free", "grouped"])
def test_the_answers_add_up_to_the_figures(released: Bundle, split: str) -> None:
    figures, chosen = json.loads((released.folder / "metrics.json").read_text())[split], rows_of(released, split)
    labels, predicted = (np.array([LABELS.index(row[name]) for row in chosen]) for name in ("label", "predicted"))
    assert len(chosen) == figures["images"]
    assert (labels == predicted).mean() == pytest.approx(figures["accuracy"])
    assert macro_f1(predicted, labels) == pytest.approx(figures["macro_f1"])


def test_the_figures_are_those_of_this_bundle_and_its_card_withdraws_them(released: Bundle) -> None:
    evaluated = json.loads((released.folder / "metrics.json").read_text())["evaluated"]
    assert evaluated["model"] == released.contract.tag
    assert evaluated["bundle_sha256"] == released.contract.digest()
    assert "## Withdrawn figures" in released.card()
