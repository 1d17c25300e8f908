import json
from pathlib import Path

import pytest

from brainmri.model.bundle import Bundle
from brainmri.model.figures import read_figures
from tests.evaluation import CONFUSION, metrics, predictions, write_evaluation
from tests.tiny import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle with the documents of an evaluation."""
    made = write_tiny_bundle(tmp_path / "bundle", tmp_path / "scratch")
    write_evaluation(made.folder)
    return made


def test_the_figures_of_an_evaluation_are_read(bundle: Bundle) -> None:
    figures = read_figures(bundle)
    assert figures is not None
    person = figures.person
    assert (person.images, person.accuracy, person.macro_f1_ci95) == (200, 0.865, (0.79, 0.91))
    assert [list(row) for row in person.confusion] == CONFUSION
    assert (person.per_class["meningioma"].recall, person.per_class["meningioma"].support) == (0.6, 50)
    assert (figures.external["br35h"].found, figures.external["br35h"].found_ci95) == (0.75, (0.64, 0.84))
    assert figures.normal is not None
    assert figures.normal.called_notumor == 0.95


def test_reliability_is_taken_from_the_answers_to_slices_by_person(bundle: Bundle) -> None:
    figures = read_figures(bundle)
    assert figures is not None
    assert sum(one.images for one in figures.reliability) == 150
    assert [one.confidence for one in figures.reliability] == pytest.approx([0.6] * 7 + [0.75] + [0.9] * 7)
    less_sure, surer = figures.reliability[:7], figures.reliability[8:]
    assert sum(one.accuracy * one.images for one in less_sure) == pytest.approx(42)
    assert [one.accuracy for one in surer] == [1.0] * 7


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"accuracy": 1.0}', json.dumps({**metrics(), "person": {**metrics()["person"], "accuracy": 1.2}})],
)
def test_an_evaluation_of_another_kind_has_no_figures(bundle: Bundle, content: str) -> None:
    (bundle.folder / "metrics.json").write_text(content)
    assert read_figures(bundle) is None


@pytest.mark.parametrize(
    "content", ["", "name,split\na,b\n", predictions([(1.5, True)]), predictions([]), "subset,confidence\ntest,much\n"]
)
def test_predictions_that_cannot_be_read_leave_the_reliability_out(bundle: Bundle, content: str) -> None:
    (bundle.folder / "predictions.csv").write_text(content)
    figures = read_figures(bundle)
    assert figures is not None
    assert figures.reliability == ()


def test_a_link_to_a_file_outside_the_bundle_is_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / "metrics.json").rename(tmp_path / "elsewhere.json")
    (bundle.folder / "metrics.json").symlink_to(tmp_path / "elsewhere.json")
    assert read_figures(bundle) is None
