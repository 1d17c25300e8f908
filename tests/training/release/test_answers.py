"""What a bundle says about images, and the figures and rows that follow, for a network that sees the mean colour."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainmri.model.contract import LABELS
from tests.tiny import write_tiny_bundle
from tests.training.fit.pictures import row
from training.data.slices import UNNAMED, Slices, as_slices
from training.release.answers import REFUSED, UNSURE, Answers, answer
from training.release.evaluate import compare, describe, describe_normal, describe_tumours, heads
from training.release.outputs import Outputs
from training.release.predictions import prediction_rows, read_predictions, write_predictions

RED, BLACK, GREY, WHITE = (200, 0, 0), (0, 0, 0), (100, 100, 100), (255, 255, 255)
GLIOMA, NOTUMOR = LABELS.index("glioma"), LABELS.index("notumor")


@pytest.fixture
def painted() -> Slices:
    """Slices of one colour each, of the test subset, but for one of external tumours."""
    rows = [
        row("red", "glioma", "slice 1", subset="test"),
        row("black", "notumor", "notumor group 2", subset="test"),
        row("grey", "meningioma", "slice 3", subset="test"),
        row("white", "pituitary", "slice 4", subset="test"),
        row("other", "tumour", "tumour group 5", source="br35h", subset="external"),
    ]
    pixels = np.empty((5, 299, 299, 3), np.uint8)
    pixels[:] = np.array([RED, BLACK, GREY, WHITE, RED], np.uint8)[:, None, None, :]
    return as_slices(pixels, rows, np.zeros((5, 4), np.float32))


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """The tiny network at temperature 2: unsure below 0.5; refused where the square roots are far from 10."""
    bundle = write_tiny_bundle(tmp_path / "bundle", tmp_path, novelty_threshold=16.0, min_confidence=0.5)
    return Outputs(bundle, threads=1)


def test_an_answer_is_what_the_service_would_say(outputs: Outputs, painted: Slices) -> None:
    said = answer(outputs, painted, "test")
    assert said.labels.tolist() == [0, 2, 1, 3]
    # Red: logits (7.843, 0, 1, 0) halved by the temperature.
    halves = np.exp(np.array([200 / 255 * 10, 0, 1, 0]) / 2)
    np.testing.assert_allclose(said.likely[0], halves / halves.sum(), rtol=1e-3)
    # Grey and white: three equal logits, so the largest probability is near a third.
    assert said.verdicts.tolist()[0] == GLIOMA
    assert said.verdicts.tolist()[2:] == [UNSURE, UNSURE]
    assert said.predicted.tolist()[1] == NOTUMOR


def test_novelty_comes_before_doubt(outputs: Outputs, painted: Slices) -> None:
    said = answer(outputs, painted, "test")
    assert said.novelty is not None
    # Square roots of the channels less 10: red (4.14, -10, -10), black (-10, -10, -10), grey 0, white (6, 6, 6).
    expected = [np.sqrt(4.142**2 + 200), np.sqrt(300), 0, np.sqrt(3) * (np.sqrt(255) - 10)]
    np.testing.assert_allclose(said.novelty, expected, atol=0.02)
    assert said.verdicts.tolist()[1] == REFUSED


def test_an_unnamed_tumour_is_found_when_any_tumour_is_most_probable(outputs: Outputs, painted: Slices) -> None:
    said = answer(outputs, painted, "external")
    assert said.labels.tolist() == [UNNAMED]
    assert said.finds_tumour.tolist() == [True]


def answers(predicted: list[int], verdicts: list[int], labels: list[int], confidence: float = 0.7) -> Answers:
    likely = np.full((len(predicted), 4), (1 - confidence) / 3, np.float32)
    likely[np.arange(len(predicted)), predicted] = confidence
    return Answers(
        np.arange(len(predicted)),
        np.array(labels),
        np.log(likely),
        likely,
        None,
        np.array(verdicts),
    )


def test_a_part_keeps_what_belongs_together() -> None:
    part = answers([0, 1, 2], [0, UNSURE, 2], [0, 1, 3]).part(np.array([True, False, True]))
    assert (part.rows.tolist(), part.labels.tolist(), part.verdicts.tolist()) == ([0, 2], [0, 3], [0, 2])
    assert part.predicted.tolist() == [0, 2]


def test_tumours_of_unnamed_kind_are_counted_by_outcome() -> None:
    # Found but refused, found but unsure, found, and one called notumor.
    said = answers([0, 1, 3, NOTUMOR], [REFUSED, UNSURE, 3, NOTUMOR], [UNNAMED] * 4)
    figures = describe_tumours(said, np.array([0, 0, 1, 2]))
    assert (figures["images"], figures["groups"]) == (4, 3)
    assert (figures["found"], figures["called_notumor"]) == (0.75, 0.25)
    assert (figures["refused"], figures["unsure"]) == (0.25, 0.25)
    low, high = figures["found_ci95"]
    assert 0 <= low <= 0.75 <= high <= 1


def test_normal_slices_are_counted_by_verdict() -> None:
    said = answers([NOTUMOR] * 4, [NOTUMOR, UNSURE, REFUSED, 0], [NOTUMOR] * 4)
    figures = describe_normal(said)
    names = ("called_notumor", "unsure", "refused", "taken_for_a_tumour")
    assert [figures[name] for name in names] == [0.25, 0.25, 0.25, 0.25]


def test_the_figures_by_person_are_those_of_a_case_counted_by_hand() -> None:
    said = answers([0, 0, 1, 2, 3, 3], [0, UNSURE, 1, 2, 3, REFUSED], [0, 0, 1, 2, 3, 0])
    figures = describe(said, np.array([0, 0, 1, 2, 3, 4]), temperature=1.5, min_confidence=0.6)
    assert (figures["images"], figures["persons"]) == (6, 5)
    assert figures["accuracy"] == pytest.approx(5 / 6)
    assert figures["recall"] == pytest.approx({"glioma": 2 / 3, "meningioma": 1, "notumor": 1, "pituitary": 1})
    # F1: glioma 4/5, meningioma 1, notumor 1, pituitary 2/3.
    assert figures["macro_f1"] == pytest.approx((4 / 5 + 1 + 1 + 2 / 3) / 4)
    assert (figures["unsure"], figures["refused"]) == (pytest.approx(1 / 6), pytest.approx(1 / 6))
    assert figures["ece"] >= 0
    assert figures["accuracy_when_sure"] == pytest.approx(5 / 6)


def test_slices_of_a_person_are_one_head_and_a_group_is_one_where_nobody_is_known() -> None:
    rows = [
        row("a", "glioma", "slice 1"),
        row("b", "glioma", "slice 2"),
        row("c", "notumor", "g"),
        row("d", "notumor", "g"),
    ]
    known = [replace(each, person="p") if each.label == "glioma" else each for each in rows]
    slices = as_slices(np.zeros((4, 1, 1, 3), np.uint8), known, np.zeros((4, 4), np.float32))
    found = heads(slices, np.arange(4))
    assert found[0] == found[1]
    assert found[2] == found[3] != found[0]


def test_a_runtime_is_compared_by_its_labels_and_probabilities() -> None:
    reference = np.log(np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]], np.float32))
    served = np.log(np.array([[0.6, 0.2, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1]], np.float32))
    found = compare(served, reference, np.array([0, 1]), temperature=1.0)
    assert (found["compared_images"], found["label_flips"]) == (2, 0.5)
    assert found["largest_probability_difference"] == pytest.approx(0.4, abs=1e-6)
    # Served: glioma 2/3, meningioma 0; the reference has both right; two labels without images count 0.
    assert found["macro_f1_difference"] == pytest.approx((2 / 3) / 4 - 2 / 4)


def test_every_answer_is_a_row_that_is_read_as_it_was_written(
    outputs: Outputs, painted: Slices, tmp_path: Path
) -> None:
    subsets = {name: answer(outputs, painted, name) for name in ("test", "external")}
    rows = list(prediction_rows(subsets, painted))
    assert [(each.name, each.subset, each.label) for each in rows] == [
        ("red", "test", "glioma"),
        ("black", "test", "notumor"),
        ("grey", "test", "meningioma"),
        ("white", "test", "pituitary"),
        ("other", "external", "tumour"),
    ]
    assert [each.verdict for each in rows] == ["glioma", "not_a_brain_mri", "unsure", "unsure", "glioma"]
    assert rows[1].predicted == "notumor"
    assert rows[1].p_notumor == rows[1].confidence
    write_predictions(tmp_path / "predictions.csv", rows)
    assert read_predictions(tmp_path / "predictions.csv") == rows
