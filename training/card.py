"""The model card, written from the contract and the measured figures (Mitchell 2019, arXiv:1810.03993)."""

from typing import Any

from brainmri.contract import LABELS, Contract
from training.recipe import Recipe

_SPLITS = {
    "given": "given (all of Testing; leaks, for comparison with others only)",
    "leak_free": "leak-free (Testing without near-duplicates of Training)",
    "grouped": "grouped hold-out (groups of Training never trained on)",
}


def write_card(contract: Contract, recipe: Recipe, metrics: dict[str, Any]) -> str:
    """Returns `card.md`.

    Args:
        contract: Of the bundle.
        recipe: That trained the model.
        metrics: The content of `metrics.json`.
    """
    sections = [
        f"# {contract.name} {contract.version}",
        f"**{contract.notice}**",
        _description(contract, recipe),
        "## Intended use\n\n" + contract.intended_use,
        _results(metrics),
        _classes(metrics["grouped"]),
        _calibration(metrics["grouped"], contract.temperature),
        _runtimes(metrics["runtimes"]),
        _limits(contract, metrics),
        "## Data\n\nBrain Tumor MRI Dataset (M. Nickparvar, Kaggle, CC0), in a public copy at 224x224 pixels. It merges"
        " figshare (Cheng), SARTAJ and Br35H, and carries no patient ids: near-duplicate groups stand in for patients,"
        " and other slices of one patient may still be on both sides.",
        f"## Licence\n\nWeights: {contract.licence}. Data: CC0.",
    ]
    return "\n\n".join(sections) + "\n"


def _description(contract: Contract, recipe: Recipe) -> str:
    phases = ", then ".join(
        f"{phase.epochs} epoch{'s' * (phase.epochs > 1)} at {contract.input.width // phase.downsample} pixels"
        for phase in recipe.phases
    )
    pooled = (
        f" The graph averages the 299-pixel input down to {contract.network_side} pixels before the first convolution:"
        " this release had little time to train."
        if contract.network_side < contract.input.width
        else ""
    )
    return (
        f"Xception (Chollet 2017) with a head of 128 units, from {_origin(recipe)}, trained by the recipe"
        f" `{recipe.name}`: {phases}.{pooled} Labels, in this order: {', '.join(contract.labels)}."
    )


def _origin(recipe: Recipe) -> str:
    return "random weights" if recipe.weights == "none" else f"{recipe.weights} weights"


def _results(metrics: dict[str, Any]) -> str:
    lines = [
        "## Results",
        "",
        "| split | images | accuracy (95 % Wilson) | macro-F1 (95 % bootstrap over groups) |",
        "|---|---|---|---|",
    ]
    for key, title in _SPLITS.items():
        figures = metrics[key]
        lines.append(
            f"| {title} | {figures['images']} | {figures['accuracy']:.4f} ({_interval(figures['accuracy_ci95'])})"
            f" | {figures['macro_f1']:.4f} ({_interval(figures['macro_f1_ci95'])}) |"
        )
    lines += ["", "Served runtime: " + metrics["runtime"] + ". Figures: `figures/`; every number: `metrics.json`."]
    return "\n".join(lines)


def _classes(figures: dict[str, Any]) -> str:
    lines = [
        "## By class, grouped hold-out",
        "",
        "| class | precision | recall (95 % Wilson) | F1 | images |",
        "|---|---|---|---|---|",
    ]
    for label in LABELS:
        row = figures["per_class"][label]
        lines.append(
            f"| {label} | {row['precision']:.3f} | {row['recall']:.3f} ({_interval(row['recall_ci95'])})"
            f" | {row['f1']:.3f} | {row['support']} |"
        )
    return "\n".join(lines)


def _calibration(figures: dict[str, Any], temperature: float) -> str:
    return (
        "## Calibration, grouped hold-out\n\n"
        f"Temperature {temperature:.3f}, fitted on validation. ECE (15 equal-mass bins, {figures['images']} images):"
        f" {figures['ece_before']:.4f} before, {figures['ece']:.4f} after ({_interval(figures['ece_ci95'])});"
        f" a perfectly calibrated model would show {figures['ece_if_calibrated']:.4f} on so few images."
        f" Brier {figures['brier']:.4f}, log loss {figures['log_loss']:.4f}."
        f" Accuracy of the most confident 95 %: {figures['accuracy_at_95_coverage']:.4f}."
    )


def _runtimes(runtimes: dict[str, dict[str, Any]]) -> str:
    lines = [
        "## Runtimes",
        "",
        "| runtime | MB | images/s at batch 1, 8, 32 | label flips | largest probability difference |",
        "|---|---|---|---|---|",
    ]
    for name, row in runtimes.items():
        speeds = ", ".join(f"{row['images_per_s'][size]:.1f}" for size in row["images_per_s"])
        flips = f"{row['label_flips']:.2%} of {row['compared_images']}" if "label_flips" in row else "reference"
        difference = f"{row['largest_probability_difference']:.3f}" if "label_flips" in row else "reference"
        lines.append(f"| {name} | {row['bytes'] / 1e6:.1f} | {speeds} | {flips} | {difference} |")
    return "\n".join(lines)


def _limits(contract: Contract, metrics: dict[str, Any]) -> str:
    weakest = min(LABELS, key=lambda label: metrics["grouped"]["per_class"][label]["recall"])
    recall = metrics["grouped"]["per_class"][weakest]["recall"]
    small = metrics["leak_free"]["per_class"]["notumor"]["support"]
    return (
        "## What it is worth, and limits\n\n"
        f"- Weakest class: {weakest}; it misses {1 - recall:.1%} of the hold-out's.\n"
        f"- The leak-free split holds only {small} images without a tumour; judge that class on the grouped hold-out.\n"
        "- It has no detector for other images: a photograph gets a class and a confidence that mean nothing.\n"
        "- Other scanners, sequences, ages and tumour types than the dataset's are untested.\n"
        f"- Trained on images 224 pixels wide, seen by the network at {contract.network_side}: fine detail is lost."
    )


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
