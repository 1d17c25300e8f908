"""From the dataset's folder to the released figures: every stage that has not been done yet, in order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainmri.errors import DatasetError
from brainmri.model.bundle import METRICS, file_sha256, load_bundle
from training.data.audit import audit, read_manifest, write_manifest
from training.data.slices import Slices
from training.data.sources import SourceImage, read_sources
from training.data.split import SplitRule, split, write_split
from training.data.workspace import Workspace
from training.fit.checkpoint import load_progress
from training.fit.recipe import Phase, Recipe
from training.release.pipeline import evaluate_run, register_run

SMOKE_VERSION = "0.0.0-smoke"
_SMOKE_STEPS = 4
_SMOKE_SLICES = 12
"""Of each source, label and part."""


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
    images = _images(job)
    from training.fit.fit import fit  # noqa: PLC0415

    recipe = shrink(job.recipe) if job.smoke else job.recipe
    space = Workspace(job.work)
    say(_prepare(space, job.data, images, track))
    slices: Slices = space.slices(job.data, track)
    run = space.run(recipe.name)
    progress = load_progress(run)
    say(f"train: recipe {recipe.name}, " + ("from the start" if progress is None else f"after epoch {progress.epoch}"))
    fit(recipe, slices, space.origin(), run, resume=True, max_steps=_SMOKE_STEPS if job.smoke else 0)
    say("evaluate: export, calibration, novelty, every figure")
    metrics = evaluate_run(recipe, space, job.data, slices, job.threads)
    if job.version is None:
        return Reproduction(metrics, None)
    return Reproduction(metrics, _register(recipe, space, job, say))


def shrink(recipe: Recipe) -> Recipe:
    """Returns the recipe with one phase of one epoch at 74 pixels and 8 images a step, under another name."""
    small = {"epochs": 1, "downsample": 4, "batch_size": 8, "warmup_steps": 1}
    phase = Phase(**recipe.phases[0].model_dump() | small)
    return recipe.model_copy(update={"name": f"{recipe.name}-smoke", "weights": "none", "phases": (phase,)})


def _images(job: Job) -> list[SourceImage]:
    images = read_sources(job.data)
    if not job.smoke:
        return images
    taken: dict[tuple[str, ...], list[SourceImage]] = {}
    for image in images:
        taken.setdefault((image.source, image.label, image.part), []).append(image)
    return sorted((image for each in taken.values() for image in each[:_SMOKE_SLICES]), key=lambda image: image.name)


def _prepare(space: Workspace, data: Path, images: list[SourceImage], track: Callable[..., Iterable[Any]]) -> str:
    if not space.manifest.is_file():
        write_manifest(space.manifest, audit(data, images, track))
    rows = read_manifest(space.manifest)
    if [row.name for row in rows] != [image.name for image in images]:
        raise DatasetError(
            f"{space.manifest} was made from other files than those at hand. Choose another --work, or remove it."
        )
    if not (space.data / "split.json").is_file():
        write_split(space.data, split(rows, SplitRule()), SplitRule(), file_sha256(space.manifest))
    return f"audit and split: {len(rows)} images, split {space.origin().split_sha256[:12]}"


def _register(recipe: Recipe, space: Workspace, job: Job, say: Callable[[str], None]) -> Path:
    version = job.version or ""
    folder = job.models / recipe.bundle_name
    if (folder / METRICS).is_file() and not job.smoke and load_bundle(folder).contract.version == version:
        say(f"register: {folder} is {version} already; compare with `python -m training evaluate-bundle {folder}`")
        return folder
    bundle, tag, _ = register_run(recipe, space, version, job.models, below_the_bar=job.smoke)
    say(f"register: {tag} in {bundle.folder}")
    return bundle.folder
