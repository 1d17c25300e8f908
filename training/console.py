"""Options and output that the commands of training share."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

_console = Console(stderr=True, highlight=False)

Data = Annotated[
    Path, typer.Option(envvar="BRAINMRI_DATA", help="Folder with brain-mri/{Training,Testing}/<label>/, or those two.")
]
Work = Annotated[Path, typer.Option(help="Folder for manifest, split, decoded images and runs.")]
RecipeName = Annotated[str, typer.Argument(help="Name of a recipe in training/recipes/, or the path of a YAML file.")]
BundleFolder = Annotated[Path, typer.Argument(help="Folder of a released bundle.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads for each runtime.")]
DEFAULT_DATA, DEFAULT_WORK, DEFAULT_MODELS = Path("data"), Path("runs"), Path("models")
THREADS = os.cpu_count() or 1


def report(figures: dict[str, Any]) -> None:
    """Says the headline figures of a metrics.json."""
    person = figures["person"]
    low, high = person["macro_f1_ci95"]
    say(
        f"by person {person['images']:5d} images  accuracy {person['accuracy']:.4f}  macro-F1 {person['macro_f1']:.4f}"
        f" ({low:.4f} to {high:.4f})  ECE {person['ece']:.4f}  unsure {person['unsure']:.1%}"
    )
    for name, row in figures.get("external", {}).items():
        outcomes = ("found", "called_notumor", "refused", "unsure")
        told = "  ".join(f"{outcome} {row[outcome]:.3f}" for outcome in outcomes if outcome in row)
        say(f"{name:9} {row['images']:5d} images  tumours {told}")
    if (normal := figures.get("normal")) is not None:
        say(f"normal    {normal['images']:5d} images  called no tumour {normal['called_notumor']:.3f}")
    for name, row in figures.get("localisation", {}).items():
        say(f"looks at  {row['images']:5d} images  {name}: pointing {row['pointing']:.3f}")
    for name in ("far", "near"):
        if (row := figures.get("novelty", {}).get(name)) is not None:
            say(f"{name:9} {row['images']:5d} images  AUROC {row['auroc']:.4f}  FPR at 95 % TPR {row['fpr95']:.4f}")


def bar(what: str) -> Any:
    """Returns what wraps an iteration in a progress bar."""
    return lambda items: track(items, description=what, console=_console)


def say(line: str) -> None:
    """Writes one line to stderr."""
    _console.print(line, markup=False, soft_wrap=True)
