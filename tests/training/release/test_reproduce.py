import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from brainmri.errors import DatasetError
from brainmri.model.bundle import load_bundle
from training.data.audit import read_manifest
from training.data.split import SplitRule, split, write_split
from training.data.workspace import Workspace
from training.fit.checkpoint import load_progress
from training.fit.recipe import Phase, Recipe
from training.release.reproduce import Job, reproduce, shrink

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    name="tiny",
    architecture="tiny_xception",
    ema=0.5,
    steps=2,
    phases=tuple(
        Phase(epochs=1, downsample=4, batch_size=8, peak_learning_rate=0.02, warmup_steps=1) for _ in range(2)
    ),
)


def job(dataset: Path, folder: Path, **changes: Any) -> Job:
    return replace(Job(RECIPE, dataset, folder / "runs", 1, "0.0.3", folder / "models"), **changes)


@pytest.fixture(scope="module")
def reproduced(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a run was interrupted after its first phase, and then reproduced."""
    folder = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.release.reproduce.evaluate_run", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            reproduce(job(dataset, folder, recipe=RECIPE.shortened(1)), lambda line: None)
    (folder / "before.json").write_text(json.dumps(load_progress(folder / "runs" / "tiny").history))  # type: ignore[union-attr]
    said: list[str] = []
    with pytest.raises(DatasetError) as refusal:
        reproduce(job(dataset, folder), said.append)
    (folder / "refused.txt").write_text(refusal.value.message)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.release.pipeline.read_bars", lambda: [])
        reproduce(job(dataset, folder), said.append)
    (folder / "said.txt").write_text("\n".join(said))
    return folder


def test_an_interrupted_run_goes_on_where_it_was(reproduced: Path) -> None:
    before = json.loads((reproduced / "before.json").read_text())
    progress = load_progress(reproduced / "runs" / "tiny")
    assert progress is not None
    assert (len(before), progress.epoch) == (1, 2)
    assert progress.history[0] == before[0]
    assert "after epoch 1" in (reproduced / "said.txt").read_text()


def test_what_is_below_the_bar_is_not_registered(reproduced: Path) -> None:
    refusal = (reproduced / "refused.txt").read_text()
    assert "tiny is below what a release has to reach" in refusal
    assert "external.br35h_unseen.found was not measured; required: at least" in refusal


def test_the_bundle_carries_the_figures_of_the_run(reproduced: Path) -> None:
    folder = reproduced / "models" / "brain_mri_xception"
    assert load_bundle(folder).contract.tag == "brain_mri_xception:0.0.3"
    figures, run = (
        json.loads(path.read_text())
        for path in (folder / "metrics.json", reproduced / "runs" / "tiny" / "metrics.json")
    )
    for figure in ("person", "normal", "external", "baseline", "localisation", "novelty"):
        assert figures[figure] == run[figure]


def test_a_finished_reproduction_trains_and_registers_nothing_again(reproduced: Path, dataset: Path) -> None:
    state = reproduced / "runs" / "tiny" / "state.npz"
    contract = reproduced / "models" / "brain_mri_xception" / "contract.json"
    before = (state.stat().st_mtime_ns, contract.stat().st_mtime_ns)
    said: list[str] = []
    reproduce(job(dataset, reproduced), said.append)
    assert (state.stat().st_mtime_ns, contract.stat().st_mtime_ns) == before
    assert "is 0.0.3 already" in said[-1]


def test_a_folder_made_from_other_files_is_refused(reproduced: Path, dataset: Path) -> None:
    extra = dataset / "brain-mri" / "Training" / "glioma" / "another.png"
    extra.write_bytes((dataset / "brain-mri" / "Training" / "glioma" / "Tr-gl_0001.png").read_bytes())
    try:
        with pytest.raises(DatasetError, match="was made from other files"):
            reproduce(job(dataset, reproduced), lambda line: None)
    finally:
        extra.unlink()


def test_a_split_of_the_users_own_is_kept(reproduced: Path, dataset: Path, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "runs")
    space.data.mkdir(parents=True)
    space.manifest.write_bytes((reproduced / "runs" / "data" / "manifest.csv").read_bytes())
    rule = SplitRule(seed=5, validation=0.2, test=0.2)
    ours = write_split(space.data, split(read_manifest(space.manifest), rule), rule, "a" * 64)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        reproduce(job(dataset, tmp_path), said.append, track=_interrupt)
    assert ours[:12] in said[0]


def _interrupt(*arguments: object) -> Any:
    raise KeyboardInterrupt


def test_a_smoke_recipe_is_the_same_network_on_few_pixels_under_another_name() -> None:
    recipe = Recipe(name="big", weights="imagenet", phases=(Phase(epochs=30), Phase(epochs=9), Phase(epochs=2)))
    small = shrink(recipe)
    assert (small.name, small.architecture, small.weights) == ("big-smoke", "xception", "none")
    assert [(phase.epochs, phase.downsample) for phase in small.phases] == [(1, 4)]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1200)
def test_the_smoke_run_goes_through_with_xception_on_real_slices(brain_mri_data: Path, tmp_path: Path) -> None:
    recipe = Recipe(name="big", phases=(Phase(epochs=9, downsample=3),))
    smoke = job(brain_mri_data, tmp_path, recipe=recipe, version="0.0.0-smoke", smoke=True)
    result = reproduce(smoke, lambda line: None)
    assert result.metrics["person"]["images"] > 60
    assert result.metrics["external"]["br35h"]["images"] == 12
    assert result.metrics["novelty"]["far"]["images"] > 0
    assert result.bundle is not None
    assert load_bundle(result.bundle).contract.provenance.recipe == "big-smoke"
