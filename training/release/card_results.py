"""The sections of the model card that tell measured figures; each takes a part of `metrics.json`."""

from typing import Any

_EXTERNAL = {
    "br35h": "tumours of another source, held-out groups",
    "br35h_unseen": "tumours of another source, by a network that saw none of it",
}
_OUTCOMES = {
    "found": "found",
    "called_notumor": "verdict `notumor`",
    "refused": "refused as no brain MRI",
    "unsure": "verdict `unsure`",
}
_MAPS = {
    "person": "held-out persons",
    "br35h": "tumours of another source",
    "centre": "the image's centre, held-out persons",
    "random": "random weights, held-out persons",
}


def results(metrics: dict[str, Any]) -> str:
    """Returns the headlines: by person, tumours of another source, normal slices, and the baseline."""
    person = metrics["person"]
    lines = [
        "## Results",
        "",
        "| what | images | figure (95 % interval, bootstrap over persons and groups) |",
        "|---|---|---|",
        f"| by person: macro-F1 | {person['images']} | {person['macro_f1']:.4f}"
        f" ({interval(person['macro_f1_ci95'])}) |",
        f"| by person: accuracy | {person['images']} | {person['accuracy']:.4f}"
        f" ({interval(person['accuracy_ci95'])}) |",
    ]
    for name, external in metrics.get("external", {}).items():
        lines += [
            f"| {_EXTERNAL[name]}: {_OUTCOMES[figure]} | {external['images']} | {external[figure]:.3f}"
            f" ({interval(external[f'{figure}_ci95'])}) |"
            for figure in _OUTCOMES
            if figure in external
        ]
    if (normal := metrics.get("normal")) is not None:
        lines.append(
            '| normal slices, one of each group: verdict "no tumour"'
            f" | {normal['images']} | {normal['called_notumor']:.3f} ({interval(normal['called_notumor_ci95'])}) |"
        )
    lines += [
        f"| baseline without anatomy, by person: macro-F1 | {person['images']} |"
        f" {metrics['baseline']['person']['macro_f1']:.3f} |",
        "",
        "By person: slices of people of whom no slice was trained on. Served runtime: "
        + metrics["runtime"]
        + ". Figures: `figures/`; every number: `metrics.json`.",
    ]
    return "\n".join(lines)


def classes(figures: dict[str, Any]) -> str:
    """Returns one row for each class, by person."""
    lines = [
        "## By class, by person",
        "",
        "| class | precision | recall (95 % Wilson) | F1 | images |",
        "|---|---|---|---|---|",
    ]
    for label, row in figures["per_class"].items():
        lines.append(
            f"| {label} | {row['precision']:.3f} | {row['recall']:.3f} ({interval(row['recall_ci95'])})"
            f" | {row['f1']:.3f} | {row['support']} |"
        )
    return "\n".join(lines)


def calibration(figures: dict[str, Any]) -> str:
    """Returns how far probabilities can be trusted, and what withholding the least confident answers brings."""
    kept = ", ".join(f"{float(share):.0%}: {value:.4f}" for share, value in figures["accuracy_at_coverage"].items())
    return (
        "## Calibration and abstention, by person\n\n"
        f"Temperature {figures['temperature']:.3f}, fitted on validation. ECE (15 equal-mass bins,"
        f" {figures['images']} images): {figures['ece_before']:.4f} before, {figures['ece']:.4f} after"
        f" ({interval(figures['ece_ci95'])}); a perfectly calibrated model would show"
        f" {figures['ece_if_calibrated']:.4f} on so few images. Brier {figures['brier']:.4f}, log loss"
        f" {figures['log_loss']:.4f}, AUGRC {figures['augrc']:.4f}.\n\n"
        f"Accuracy of the share with the largest calibrated probabilities: {kept}. Below"
        f" {figures['unsure_below']:.3f} the verdict is `unsure`: {figures['unsure']:.1%} of the images."
    )


def localisation(figures: dict[str, Any]) -> str:
    """Returns where the evidence lies, beside the image's centre and a network of random weights."""
    if not figures:
        return ""
    lines = [
        "## Where it looks",
        "",
        "The heat map's maximum inside the tumour's box grown by 15 of 299 pixels, strictly inside it, and the share of"
        " the map's energy inside it.",
        "",
        "| map | images | inside the grown box | strictly inside | energy inside |",
        "|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        energy = "" if row.get("energy") is None else f"{row['energy']:.3f}"
        lines.append(
            f"| {_MAPS.get(name, name)} | {row.get('images', '')} | {row['pointing']:.3f} |"
            f" {row['pointing_strict']:.3f} | {energy} |"
        )
    return "\n".join(lines)


def novelty(novelty: dict[str, Any]) -> str:
    """Returns how images that are not slices are told."""
    if not novelty:
        return "## Images that are not slices\n\nIt has no detector: a photograph gets a class that means nothing."
    slices, near = novelty["slices"], novelty["near"]
    lines = [
        "## Images that are not slices",
        "",
        f"Novel above {novelty['threshold']:.3f} (1 is the median validation slice); this keeps"
        f" {novelty['validation_kept']:.1%} of validation and {slices['kept']:.1%} of the {slices['images']} test"
        " slices. Slices are the positive class; AUPR depends on how many images there are of each.",
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


def interval(ends: list[float]) -> str:
    """Returns the ends of an interval in words."""
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
