"""The commands of training that judge and compare: bundles, resize rules, novelty scores, choices of training."""

from pathlib import Path
from typing import Annotated

import typer

from training.console import (
    DEFAULT_DATA,
    DEFAULT_WORK,
    THREADS,
    BundleFolder,
    Data,
    RecipeName,
    Threads,
    Work,
    bar,
    report,
    say,
)
from training.data.workspace import Workspace


def add_studies(app: typer.Typer) -> None:
    """Adds the commands to those of `training.cli`."""
    for name, command in (
        ("evaluate-bundle", evaluate_bundle),
        ("resize-study", resize_study),
        ("novelty-study", novelty_study),
        ("novelty-layers", novelty_layers),
        ("ablation", ablation),
        ("freeze-near-set", freeze_near_set),
    ):
        app.command(name)(command)


def evaluate_bundle(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Evaluate a released bundle again and compare with the figures it carries; exit 1 when they differ."""
    from training.release.pipeline import differences, evaluate_released

    space = Workspace(work)
    figures, published = evaluate_released(bundle, space, data, space.arrays(data, bar("decoding")), threads)
    report(figures)
    changed = differences(figures, published)
    for line in changed:
        say(line)
    if changed:
        raise typer.Exit(1)
    say(f"as published in {bundle / 'metrics.json'}")


def resize_study(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Compare stretching, padding and filters on validation slices (decision 0003)."""
    from brainmri.model.options import ModelOptions
    from brainmri.model.runtimes.open import open_runtime
    from training.data.dataset import find_dataset
    from training.release.pipeline import bundle_of_split
    from training.studies.resize_study import study

    space = Workspace(work)
    model, arrays = bundle_of_split(bundle, space), space.arrays(data, bar("decoding"))
    runtime = open_runtime(model, ModelOptions(runtime="openvino", threads=threads))
    for row in study(runtime, model.contract.temperature, arrays, find_dataset(data)):
        say(
            f"{row['images']:20} {row['rule']:8} {row['filter']:9}"
            f" macro-F1 {row['macro_f1']:.4f}  log loss {row['log_loss']:.4f}"
        )


def novelty_study(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    threads: Threads = THREADS,
) -> None:
    """Compare scores of novelty on validation slices, photographs and the near set (decision 0007)."""
    from training.data.outliers import load_outliers
    from training.release.outputs import Outputs
    from training.release.pipeline import bundle_of_split
    from training.studies.novelty_study import compare_scores, table

    space = Workspace(work)
    outputs = Outputs(bundle_of_split(bundle, space), threads, space.outputs)
    say(table(compare_scores(outputs, space.arrays(data, bar("decoding")), load_outliers(data))))


def novelty_layers(
    recipe: RecipeName,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
) -> None:
    """Compare layers of a trained Xception as the source of the novelty detector's features (decision 0007)."""
    from training.data.outliers import load_outliers
    from training.fit.recipe import load_recipe
    from training.release.drafts import trained_run
    from training.studies.novelty_layers import compare_layers, table

    chosen, space = load_recipe(recipe), Workspace(work)
    trained_run(chosen, space)
    arrays = space.arrays(data, bar("decoding"))
    say(table(compare_layers(chosen, space.run(chosen.name), arrays, load_outliers(data))))


def ablation(
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each variant.")] = 3,
    out: Annotated[Path, typer.Option(help="Receives the table.")] = Path("docs/ablations.md"),
    teacher: Annotated[str, typer.Option(help="Recipe whose finished run teaches one more variant.")] = "",
) -> None:
    """Train small variants, one choice changed in each, and write the table; an interrupted one is resumed.

    About seven minutes a variant of three epochs on two Zen 4 cores with KERAS_BACKEND=torch; six with a teacher, else
    five.
    """
    from training.data.dataset import find_dataset
    from training.data.tables import write_atomically

    space = Workspace(work)
    arrays = space.arrays(data, bar("decoding"))
    from training.studies.ablation import ablate, base_recipe, table

    base = base_recipe(epochs)
    rows = ablate(base, arrays, space.origin(), space, find_dataset(data), say, teacher)
    write_atomically(out, table(rows, base, teacher).encode())
    say(f"table in {out}")


def freeze_near_set(data: Data = DEFAULT_DATA, work: Work = DEFAULT_WORK) -> None:
    """Write training/data/near/manifest.csv anew: a new edition, with which old figures cannot be compared."""
    from training.data.dataset import find_dataset
    from training.data.near.manifest import MANIFEST, freeze
    from training.data.split import read_split

    say(f"{MANIFEST}: {freeze(find_dataset(data), read_split(Workspace(work).data))}")
