"""The model card, written from the contract and the measured figures (Mitchell 2019, arXiv:1810.03993; CLAIM 2020)."""

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
        "Out of scope: images that are not single slices of a brain MRI (the novelty detector refuses most, not all),"
        " other questions than these four labels, where a tumour is or how large, and any decision about a person.",
        _results(metrics),
        _classes(metrics["grouped"]),
        _sources(metrics["per_source"]),
        _calibration(metrics["grouped"], contract.temperature),
        _novelty(metrics.get("novelty", {})),
        _sharper(metrics["sharper_input"]),
        _runtimes(metrics["runtimes"]),
        _failures(metrics),
        _limits(contract, metrics),
        _training(contract, recipe),
        f"## Licence\n\nWeights: {contract.licence}. Data: CC0 1.0, see `data_card.md`.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


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


def _sources(per_source: dict[str, Any]) -> str:
    lines = [
        "## By source",
        "",
        "The source shows in the file name only: `sartaj` for `*Tr_*` names, `merged` for all others.",
        "",
        "| split | source | images | accuracy (95 % Wilson) | recall by class (images) |",
        "|---|---|---|---|---|",
    ]
    for split, sources in per_source.items():
        for source, row in sources.items():
            recalls = ", ".join(
                f"{label} {of['recall']:.3f} ({of['images']})"
                for label, of in row["per_class"].items()
                if of["recall"] is not None
            )
            lines.append(
                f"| {split} | {source} | {row['images']} | {row['accuracy']:.4f} ({_interval(row['accuracy_ci95'])})"
                f" | {recalls} |"
            )
    return "\n".join(lines)


def _calibration(figures: dict[str, Any], temperature: float) -> str:
    kept = ", ".join(f"{float(share):.0%}: {value:.4f}" for share, value in figures["accuracy_at_coverage"].items())
    unsure = figures["unsure"]
    return (
        "## Calibration and abstention, grouped hold-out\n\n"
        f"Temperature {temperature:.3f}, fitted on validation. ECE (15 equal-mass bins, {figures['images']} images):"
        f" {figures['ece_before']:.4f} before, {figures['ece']:.4f} after ({_interval(figures['ece_ci95'])});"
        f" a perfectly calibrated model would show {figures['ece_if_calibrated']:.4f} on so few images."
        f" Brier {figures['brier']:.4f}, log loss {figures['log_loss']:.4f}, AUGRC {figures['augrc']:.4f}.\n\n"
        f"Accuracy of the share with the largest calibrated probabilities: {kept}. Below {unsure['below']:.3f} the"
        f" verdict is `unsure`, a limit that 95 % of validation reach; on the hold-out {unsure['share']:.1%} do not."
    )


def _novelty(novelty: dict[str, Any]) -> str:
    if not novelty:
        return "## Images that are no slices\n\nIt has no detector: a photograph gets a class that means nothing."
    slices, near = novelty["slices"], novelty["near"]
    lines = [
        "## Images that are no slices",
        "",
        f"Novel above {novelty['threshold']:.3f} (1 is the median validation slice); this keeps"
        f" {novelty['validation_kept']:.1%} of validation, {slices['kept']:.1%} of the {slices['images']} hold-out"
        f" slices and {slices['leak_free_kept']:.1%} of leak-free Testing. Slices are the positive class; AUPR depends"
        " on how many images there are of each.",
        "",
        "| images | origin | count | AUROC | FPR at 95 % TPR | AUPR | pass the threshold |",
        "|---|---|---|---|---|---|---|",
    ]
    if "far" in novelty:
        lines.append(_detected("far: photographs", "real", novelty["far"]))
    lines.append(_detected("near, all", "", near))
    lines += [_detected(f"near: {kind}", row["origin"], row) for kind, row in near["per_kind"].items()]
    return "\n".join(lines)


def _detected(name: str, origin: str, row: dict[str, Any]) -> str:
    return (
        f"| {name} | {origin} | {row['images']} | {row['auroc']:.4f} | {row['fpr95']:.3f} | {row['aupr']:.4f}"
        f" | {row['passed']:.1%} |"
    )


def _sharper(row: dict[str, Any]) -> str:
    return (
        "## Sharper inputs\n\n"
        f"Training has seen copies 224 pixels wide. Enlarged to 512 pixels, {row['enlarged']['label_flips']:.2%} of"
        f" {row['images']} hold-out slices change their label; sharpened as well,"
        f" {row['enlarged_and_sharpened']['label_flips']:.2%} (accuracy {row['accuracy']:.4f},"
        f" {row['enlarged']['accuracy']:.4f} and {row['enlarged_and_sharpened']['accuracy']:.4f})."
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


def _failures(metrics: dict[str, Any]) -> str:
    figures = metrics["grouped"]
    pairs = [
        (count, LABELS[true], LABELS[predicted])
        for true, row in enumerate(figures["confusion"])
        for predicted, count in enumerate(row)
        if true != predicted and count
    ]
    worst = "; ".join(
        f"{count} of {figures['per_class'][true]['support']} {true} taken for {predicted}"
        for count, true, predicted in sorted(pairs, reverse=True)[:4]
    )
    text = (
        "## Failure cases\n\n"
        f"On the grouped hold-out: {worst or 'none'}. `figures/mistakes_grouped.png` lists the most confident mistakes"
        " by file name with all four probabilities, `figures/features_grouped.png` shows where classes overlap;"
        " `predictions.csv` holds the answer to every held-out image. Pictures of the dataset are not shown."
    )
    if "novelty" in metrics:
        kinds = sorted(metrics["novelty"]["near"]["per_kind"].items(), key=lambda item: -item[1]["passed"])
        passed = ", ".join(f"{kind} {row['passed']:.0%} of {row['images']}" for kind, row in kinds[:4] if row["passed"])
        text += f" Taken for a brain MRI most often: {passed or 'nothing of the near set'}."
    return text


def _limits(contract: Contract, metrics: dict[str, Any]) -> str:
    weakest = min(LABELS, key=lambda label: metrics["grouped"]["per_class"][label]["recall"])
    recall = metrics["grouped"]["per_class"][weakest]["recall"]
    small = metrics["leak_free"]["per_class"]["notumor"]["support"]
    return (
        "## What it is worth, and limits\n\n"
        f"- Weakest class: {weakest}; it misses {1 - recall:.1%} of the hold-out's.\n"
        f"- The leak-free split holds only {small} images without a tumour; judge that class on the grouped hold-out.\n"
        "- Slices with and without a tumour come from different sources, which may be part of what tells them apart.\n"
        "- Near-duplicate groups stand in for patients, and other slices of one patient may be on both sides.\n"
        "- Other scanners, sequences, ages and tumour types than the dataset's are untested; so are other hospitals.\n"
        f"- Trained on images 224 pixels wide, seen by the network at {contract.network_side}: fine detail is lost."
    )


def _training(contract: Contract, recipe: Recipe) -> str:
    made = contract.provenance
    return (
        "## Training\n\n"
        f"Brain Tumor MRI Dataset, described in `data_card.md`; split `{made.split_sha256[:12]}` of data"
        f" `{made.data_sha256[:12]}`. {recipe.optimizer}, weight decay {recipe.weight_decay}, label smoothing"
        f" {recipe.label_smoothing}, mixup {recipe.mixup}, averaged weights {recipe.ema}, one image of each"
        f" near-duplicate group an epoch ({recipe.sampling}); seed {recipe.seed}. Code `{made.code_revision[:12]}`,"
        f" Keras {made.keras_version} on {made.keras_backend}. Again: `python -m training reproduce {recipe.name}`."
        " Curves: `figures/history.png`."
    )


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
