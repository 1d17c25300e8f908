"""The commands for classical models and comparisons, one after the other as a person runs them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from brainmri.model.bundle import load_bundle
from tests.tiny import contract_parts, write_tiny_bundle
from training.cli import app
from training.data.workspace import Workspace


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_support_vector_machine_is_made_from_a_bundle_and_compared_with_it(dataset: Path, tmp_path: Path) -> None:
    work, models = tmp_path / "runs", tmp_path / "models"
    run("audit", "--data", dataset, "--work", work)
    run("split", "--validation", 0.2, "--test", 0.2, "--work", work)
    provenance = contract_parts()["provenance"] | {"split_sha256": Workspace(work).origin().split_sha256}
    source = write_tiny_bundle(tmp_path / "source", tmp_path / "ir", novelty_threshold=16.0, provenance=provenance)
    common = ("--data", dataset, "--work", work, "--threads", 1)
    run("classical", source.folder, "--kind", "svm", "--version", "2.0.0", "--models", models, *common)
    made = load_bundle(models / "brain_mri_xception_svm").contract
    assert made.classifier is not None
    assert made.classifier.kind == "svm"
    run("compare", source.folder, models / made.name, "--out", tmp_path / "out", *common)
    table = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["model"] for row in table["models"]] == ["brain_mri_xception:0.0.1", "brain_mri_xception_svm:2.0.0"]
    assert "| brain_mri_xception_svm:2.0.0 |" in (tmp_path / "out" / "comparison.md").read_text()
