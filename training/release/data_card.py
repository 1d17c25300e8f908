"""The data card, written from the audit and the split (Gebru 2018, arXiv:1803.09010; CLAIM 2020, items 7 to 14)."""

from typing import Any

from brainmri.model.contract import LABELS
from training.data.split import HOLDOUT, TEST, TRAIN, VALIDATION

_USE = {
    TRAIN: "trained on",
    VALIDATION: "stopping, choosing, calibrating, the novelty threshold",
    HOLDOUT: "looked at once a release: the headline figures",
    TEST: "looked at once a release: `given` is all of it, `leak_free` leaves out leaks",
}


def write_data_card(audit: dict[str, Any], split: dict[str, Any], novelty: dict[str, Any]) -> str:
    """Returns `data_card.md`.

    Args:
        audit: From `training.data.audit.summarise`.
        split: The content of `split.json`.
        novelty: Of `metrics.json`; empty without a detector.
    """
    sections = [
        "# Data of brain_mri_xception",
        "Brain Tumor MRI Dataset, M. Nickparvar, Kaggle, CC0 1.0"
        " (`masoudnickparvar/brain-tumor-mri-dataset`). No image of it is in this bundle or its repository.",
        "## Where it comes from\n\n"
        "It merges three public sets: figshare (Cheng 2017: T1-weighted, contrast-enhanced slices of 233 patients at"
        " two hospitals in China), SARTAJ and Br35H. Labels are those of the sources; how SARTAJ and Br35H were"
        " labelled is not documented. There are no patient ids, ages, sexes, scanners or sequences, so that results"
        " cannot be broken down by them. Whether consent was asked is not documented. Slices without a tumour come from"
        " other sources than those with one: a network may learn the source instead of the anatomy.",
        _measured(audit),
        _split(split),
        "## How it is prepared\n\n"
        "Decoding and resizing are those of serving. Near-duplicates are images whose 255-bit DCT hashes differ in at"
        " most 10 bits or whose 32-pixel thumbnails correlate by at least 0.995; their connected components are groups,"
        " and no group is cut by the split. Unreadable files are left out. Nothing else is removed or corrected.",
        _outliers(novelty),
        "## What it is not good for\n\n"
        "It is no sample of any clinic's patients: seven slices in ten show a tumour of one of three kinds, chosen"
        " for being visible. Prevalence, other tumours, other diseases, children, low field strengths and artefacts are"
        " not represented. Groups stand in for patients: different slices of one patient may still lie on both sides of"
        " the split.",
    ]
    return "\n\n".join(sections) + "\n"


def _measured(audit: dict[str, Any]) -> str:
    lines = [
        f"## What was measured on the {audit['images']} images at hand",
        "",
        "| | " + " | ".join(LABELS) + " |",
        "|---|" + "---|" * len(LABELS),
    ]
    for part, counts in audit["per_part_and_label"].items():
        lines.append(f"| {part} | " + " | ".join(str(counts[label]) for label in LABELS) + " |")
    for key, title in (
        ("groups_per_label", "near-duplicate groups"),
        ("testing_near_leaks_per_label", "Testing images with a near-duplicate in Training"),
        ("testing_leak_free_per_label", "Testing images without one"),
    ):
        lines.append(f"| {title} | " + " | ".join(str(audit[key][label]) for label in LABELS) + " |")
    sizes = ", ".join(f"{count} of {size}" for size, count in list(audit["sizes"].items())[:5])
    lines += [
        "",
        f"Pixels: {sizes}. Exact duplicates: {audit['exact_duplicates']}. Groups with two labels:"
        f" {audit['groups_with_two_labels']}. Unreadable files: {len(audit['unreadable'])}.",
    ]
    return "\n".join(lines)


def _split(split: dict[str, Any]) -> str:
    lines = [
        "## Split",
        "",
        f"By near-duplicate group, stratified by class, seed {split['seed']}; SHA-256 `{split['sha256']}`, of the"
        f" manifest `{split['manifest_sha256']}`.",
        "",
        "| subset | " + " | ".join(f"{label}: images (groups)" for label in LABELS) + " | use |",
        "|---|" + "---|" * (len(LABELS) + 1),
    ]
    for subset, counts in split["counts"].items():
        cells = " | ".join(f"{counts[label]['images']} ({counts[label]['groups']})" for label in LABELS)
        lines.append(f"| {subset} | {cells} | {_USE[subset]} |")
    return "\n".join(lines)


def _outliers(novelty: dict[str, Any]) -> str:
    if not novelty:
        return "## Images that are no slices\n\nNone were used: the model has no novelty detector."
    far = f"{novelty['far']['images']} photographs. " if "far" in novelty else "No photographs were at hand. "
    near = novelty["near"]
    lines = [
        "## Images that are no slices",
        "",
        f"Only for measuring the novelty detector, never for fitting it. Far: {far}Near: {near['images']} images,"
        f" frozen by the manifest `{near['manifest_sha256'][:12]}`: `real` are scans that pydicom and pydicom-data"
        " carry (MIT), `drawn` are synthetic, `altered` are slices of Testing made unlike a slice.",
        "",
        "| kind | origin | images |",
        "|---|---|---|",
    ]
    lines += [f"| {kind} | {row['origin']} | {row['images']} |" for kind, row in near["per_kind"].items()]
    if near["missing"] or near["differing"]:
        lines += ["", f"Missing: {len(near['missing'])}. Not as frozen: {len(near['differing'])}."]
    return "\n".join(lines)
