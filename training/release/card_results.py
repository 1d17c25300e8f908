"""The sections of the model card that tell measured figures; each takes a part of `metrics.json`."""

from typing import Any

from brainmri.model.contract import LABELS

_SPLITS = {
    "given": "given (all of Testing; leaks, for comparison with others only)",
    "leak_free": "leak-free (Testing without near-duplicates of Training)",
    "grouped": "grouped hold-out (groups of Training never trained on)",
}


def results(metrics: dict[str, Any]) -> str:
    """Returns the headline of every split."""
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


def classes(figures: dict[str, Any]) -> str:
    """Returns one row for each class of a split."""
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


def sources(per_source: dict[str, Any]) -> str:
    """Returns accuracy and recall by source."""
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


def calibration(figures: dict[str, Any], temperature: float) -> str:
    """Returns how far probabilities can be trusted, and what withholding the least confident answers brings."""
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


def novelty(novelty: dict[str, Any]) -> str:
    """Returns how images that are no slices are told."""
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


def sharper(row: dict[str, Any]) -> str:
    """Returns what enlarging and sharpening change."""
    return (
        "## Sharper inputs\n\n"
        f"Training has seen copies 224 pixels wide. Enlarged to 512 pixels, {row['enlarged']['label_flips']:.2%} of"
        f" {row['images']} hold-out slices change their label; sharpened as well,"
        f" {row['enlarged_and_sharpened']['label_flips']:.2%} (accuracy {row['accuracy']:.4f},"
        f" {row['enlarged']['accuracy']:.4f} and {row['enlarged_and_sharpened']['accuracy']:.4f})."
    )


def _interval(ends: list[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
