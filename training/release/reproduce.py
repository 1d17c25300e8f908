"""From the dataset's folder to the released figures: every stage that has not been done yet, in order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmri.errors import DatasetError
from brainmri.model.bundle import METRICS, file_sha256, load_bundle
from training.data.arrays import Arrays
from training.data.audit import audit, read_manifest, write_manifest
from training.data.dataset import SliceFile, list_slices
from training.data.split import SplitRule, split, write_split
from training.data.workspace import Workspace
from training.fit.checkpoint import load_progress
from training.fit.recipe import Phase, Recipe, load_recipe
from training.release.pipeline import evaluate_run, register_run
from training.release.register import MODEL_NAME

SMOKE_VERSION = "0.0.0-smoke"
_SMOKE_STEPS = 4
_SMOKE_SLICES = 40
"""Of each label in Training and in Testing."""


@dataclass(frozen=True)
class Reproduction:
    """What was reproduced.

    Attributes:
        metrics: Of the run, as `metrics.json` holds them.
        bundle: Folder of the registered bundle; None when no version was given.
    """

    metrics: dict[str, Any]
    bundle: Path | None


@dataclass(frozen=True)
class Job:
    """What to reproduce.

    Attributes:
        recipe: What to train.
        data: The dataset's folder.
        work: Manifest, split, decoded images and runs; what lies there is taken up again.
        threads: CPU threads for each runtime.
        version: Registers the model under it; None stops after the evaluation.
        models: Receives the bundle.
        smoke: A few steps of a shrunken recipe on a part of the dataset, to see that everything works.
    """

    recipe: Recipe
    data: Path
    work: Path
    threads: int
    version: str | None
    models: Path
    smoke: bool = False


def reproduce(job: Job, say: Callable[[str], None], track: Callable[..., Iterable[Any]] = iter) -> Reproduction:
    """Runs audit, split, training, calibration, evaluation and registration; finished stages are not run again.

    Args:
        job: What to reproduce.
        say: Takes one line for each stage.
        track: Wraps iterations, for a progress bar.

    Raises:
        DatasetError: The dataset, recipe or an earlier run in `job.work` cannot be used.
    """
    # Imported late: Keras takes seconds, and a wrong folder should be told at once.
    slices = _slices(job)
    from training.fit.fit import fit  # noqa: PLC0415

    recipe = shrink(job.recipe) if job.smoke else job.recipe
    space = Workspace(job.work)
    say(_prepare(space, slices, track))
    arrays: Arrays = space.arrays(job.data, track)
    for taken in (*map(load_recipe, recipe.teachers), recipe):
        run = space.run(taken.name)
        progress = load_progress(run)
        say(
            f"train: recipe {taken.name}, "
            + ("from the start" if progress is None else f"after epoch {progress.epoch}")
        )
        steps = _SMOKE_STEPS if job.smoke else 0
        fit(taken, arrays, space.origin(), run, resume=True, max_steps=steps)
    say("evaluate: export, calibration, novelty, every split")
    metrics = evaluate_run(recipe, space, job.data, arrays, job.threads)
    if job.version is None:
        return Reproduction(metrics, None)
    return Reproduction(metrics, _register(recipe, space, job, say))


def shrink(recipe: Recipe) -> Recipe:
    """Returns the recipe with one phase of one epoch at 74 pixels and 8 images a step, untaught, under another name."""
    small = {"epochs": 1, "downsample": 4, "batch_size": 8, "warmup_steps": 1, "distillation": None}
    phase = Phase(**recipe.phases[0].model_dump() | small)
    return recipe.model_copy(update={"name": f"{recipe.name}-smoke", "weights": "none", "phases": (phase,)})


def _slices(job: Job) -> list[SliceFile]:
    slices = list_slices(job.data)
    if not job.smoke:
        return slices
    taken: dict[tuple[str, str], list[SliceFile]] = {}
    for item in slices:
        taken.setdefault((item.part, item.label), []).append(item)
    return sorted((item for items in taken.values() for item in items[:_SMOKE_SLICES]), key=lambda item: item.name)


def _prepare(space: Workspace, slices: list[SliceFile], track: Callable[..., Iterable[Any]]) -> str:
    if not space.manifest.is_file():
        write_manifest(space.manifest, audit(slices, track))
    rows = read_manifest(space.manifest)
    if [row.name for row in rows] != [item.name for item in slices]:
        raise DatasetError(
            f"{space.manifest} was made from other files than those at hand. Choose another --work, or remove it."
        )
    if not (space.data / "split.json").is_file():
        write_split(space.data, split(rows, SplitRule()), SplitRule(), file_sha256(space.manifest))
    return f"audit and split: {len(rows)} images, split {space.origin().split_sha256[:12]}"


def _register(recipe: Recipe, space: Workspace, job: Job, say: Callable[[str], None]) -> Path:
    version = job.version or ""
    folder = job.models / MODEL_NAME
    if (folder / METRICS).is_file() and not job.smoke and load_bundle(folder).contract.version == version:
        say(f"register: {folder} is {version} already; compare with `python -m training evaluate-bundle {folder}`")
        return folder
    bundle, tag, _ = register_run(recipe, space, version, job.models)
    say(f"register: {tag} in {bundle.folder}")
    return bundle.folder
