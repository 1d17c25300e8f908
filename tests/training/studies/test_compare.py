"""Models side by side: the tests against the first, the cost, and the table that people read."""

import json
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import DatasetError
from tests.tiny import write_tiny_bundle
from training.data.slices import Slices
from training.data.workspace import Workspace
from training.studies.compare import against, compare
from training.studies.comparison_page import HEAD, cells, write_comparison
from training.studies.comparison_plots import plot_comparison
from training.studies.cost import cost


def test_a_model_is_tested_against_the_first_on_the_same_images() -> None:
    # Of twelve images it alone has nine right and the first alone one; persons have two images each.
    ours = np.array([True] * 9 + [False] + [True, False])
    first = np.array([False] * 9 + [True] + [True, False])
    found = against(ours, first, np.arange(12) // 2)
    assert (found.only_it, found.only_the_first) == (9, 1)
    assert found.accuracy_difference == pytest.approx(8 / 12)
    # Twice the probability of one head or fewer in ten throws.
    assert found.mcnemar_p == pytest.approx(2 * 11 / 1024)
    low, high = found.accuracy_difference_ci95
    assert 0 < low < 8 / 12 < high <= 1


def test_the_same_answers_do_not_differ() -> None:
    right = np.array([True, False, True, True])
    found = against(right, right, np.arange(4))
    assert (found.accuracy_difference, found.accuracy_difference_ci95, found.mcnemar_p) == (0, [0, 0], 1)


def test_the_cost_counts_kernels_and_their_places(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", tmp_path / "ir")
    found = cost(bundle)
    # The mean colour times a kernel of three by four.
    assert (found.parameters, found.gflop) == (12, 2 * 12 / 1e9)
    assert found.megabytes == bundle.contract.artefacts[0].bytes / 1e6


def test_a_comparison_is_written_for_people_and_machines(slices: Slices, tmp_path: Path) -> None:
    first = write_tiny_bundle(tmp_path / "first", tmp_path / "ir")
    other = write_tiny_bundle(tmp_path / "other", tmp_path / "ir", version="0.0.2", temperature=5.0)
    space = Workspace(tmp_path / "runs")
    run = space.run("tiny")
    run.mkdir(parents=True)
    (run / "history.csv").write_text("epoch,phase,seconds,loss,val_macro_f1\n1,1,90,1.5,0.5\n2,1,30,1.0,0.6\n")
    comparison = compare([first, other], slices, space, 1, "a test machine")
    figures = plot_comparison(comparison, tmp_path / "out" / "figures")
    write_comparison(comparison, figures, tmp_path / "out")
    names = ["accuracy", "confusion", "roc", "reliability", "training"]
    assert [figure.stem for figure in figures] == names
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)
    table = json.loads((tmp_path / "out" / "comparison.json").read_text())
    one, two = table["models"]
    assert (one["model"], two["model"]) == ("brain_mri_xception:0.0.1", "brain_mri_xception:0.0.2")
    assert (one["against"], two["against"]["accuracy_difference"], two["against"]["mcnemar_p"]) == (None, 0, 1)
    # A temperature moves confidence, and no label.
    assert one["accuracy"] == two["accuracy"]
    assert one["ece"] != two["ece"]
    assert (one["images"], one["training_s"], one["side"]) == (len(slices.subset("test")), 120, 299)
    assert one["found_elsewhere"] is not None
    text, page = ((tmp_path / "out" / f"comparison.{kind}").read_text() for kind in ("md", "html"))
    for row in comparison.rows:
        assert f"| {' | '.join(cells(row))} |" in text
        assert f"<td>{row.model}</td>" in page
    assert page.count('<th scope="col">') == len(HEAD)
    assert all(f'src="figures/{name}.png"' in page for name in names)


def test_fewer_than_two_models_are_not_compared(slices: Slices, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "bundle", tmp_path / "ir")
    for named in ([bundle], [bundle, bundle]):
        with pytest.raises(DatasetError, match="Name two different models or more"):
            compare(named, slices, Workspace(tmp_path), 1, "a test machine")
