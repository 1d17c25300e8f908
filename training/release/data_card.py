"""The data card, written from the audit and the split (Gebru 2018, arXiv:1803.09010; CLAIM 2020, items 7 to 14)."""

from typing import Any

from brainmri.model.contract import RELEASED_CLASSES, Classes
from training.data.sources import TEST, TRAIN, VALIDATION
from training.data.split import EXTERNAL, EXTERNAL_VALIDATION

_USE = {
    TRAIN: "trained on",
    VALIDATION: "stopping, choosing, calibrating, the novelty threshold",
    TEST: "looked at once a release: the figures by person",
    EXTERNAL_VALIDATION: "choosing",
    EXTERNAL: "looked at once a release: the external figures",
}


def write_data_card(
    audit: dict[str, Any], split: dict[str, Any], novelty: dict[str, Any], classes: Classes = RELEASED_CLASSES
) -> str:
    """Returns `data_card.md`.

    Args:
        audit: From `training.data.audit.summarise`.
        split: The content of `split.json`.
        novelty: Of `metrics.json`; empty without a detector.
        classes: What the dataset tells apart.
    """
    if classes != RELEASED_CLASSES:
        return _own_card(audit, split, novelty, classes)
    sections = [
        "# Data of brain_mri_xception",
        "No image of these datasets is in this bundle or its repository.\n\n"
        "| source | what | licence and attribution |\n|---|---|---|\n"
        '| figshare | J. Cheng, "brain tumor dataset", figshare, 2017, doi:10.6084/m9.figshare.1512427: 3,064'
        " T1-weighted, contrast-enhanced slices of 233 patients with tumour masks | CC BY 4.0 |\n"
        '| nickparvar | M. Nickparvar, "Brain Tumor MRI Dataset", Kaggle'
        " (`masoudnickparvar/brain-tumor-mri-dataset`): a merge of figshare's slices with others | CC0 1.0 |\n"
        '| br35h | A. Hamada, "Br35H :: Brain Tumor Detection 2020", Kaggle: slices with and without a tumour'
        " | not stated where it is published |",
        "## What the merge really is\n\n"
        "Of Nickparvar's tumour slices 4,451 of 4,723 at hand are one of 2,988 slices of figshare; 1,445 of these stand"
        " in it twice, once mirrored left to right. The others (253 meningioma, 19 pituitary) cannot be assigned to a"
        " person: they are trained on and never evaluated on. Its slices without a tumour are those of Br35H and of"
        " other origin, in groups of copies. Every tumour with a name comes from one source and every normal slice from"
        " others, so that a network may learn the source instead of the tumour; tumours of another source show whether"
        " it has. There are no ages, sexes, scanners or sequences. Whether consent was asked is not documented.",
        _measured(audit),
        _split(split),
        "## How it is prepared\n\n"
        "Decoding and resizing are those of serving. Near-duplicates are images whose 255-bit DCT hashes differ in at"
        " most 10 bits or whose 32-pixel thumbnails correlate by at least 0.995, upright, mirrored or turned by"
        " quarters. Which image shows which slice and person was found by correlating thumbnails (at least 0.98) and"
        " ships with the training code (`training/data/published/`). Patient ids that differ in a final letter only are"
        " one person. Unreadable files are left out. Nothing else is removed or corrected.",
        _outliers(novelty),
        "## What it is not good for\n\n"
        "It is not a sample of any clinic's patients: tumours of three kinds, chosen for being visible. Prevalence,"
        " other tumours, other diseases, children, low field strengths and artefacts are not represented.",
    ]
    return "\n\n".join(sections) + "\n"


def _own_card(audit: dict[str, Any], split: dict[str, Any], novelty: dict[str, Any], classes: Classes) -> str:
    """Returns the card of a dataset with own labels, of which this code knows what it has measured."""
    none = f"; `{classes.no_tumor}` means that there is no tumour" if classes.no_tumor else ""
    sections = [
        "# Data of a model with labels of its own",
        f"Labels, in this order: {', '.join(classes.labels)}{none}. Where the images come from, their licence and whose"
        " they are is for whoever trained on them to say. No image is in this bundle.",
        _counted(audit),
        _split(split),
        _outliers(novelty),
    ]
    return "\n\n".join(sections) + "\n"


def _measured(audit: dict[str, Any]) -> str:
    given = audit["given"]
    leaks = (
        f"Nickparvar's own split leaks: of its {given['testing_images']} Testing images at hand"
        f" {given['exact_copies']} are exact copies of one in Training, {given['near_duplicates']} near-duplicates,"
        f" {given['near_duplicates_in_any_position']} with mirrored and turned ones,"
        f" {given['with_a_person_of_training']} show a person of Training; {given['leaking']} leak in one way or"
        " another."
    )
    return f"{_counted(audit)}\n\n{leaks}"


def _counted(audit: dict[str, Any]) -> str:
    turned = ", ".join(f"{count} of {source}" for source, count in audit["found_only_mirrored_or_turned"].items())
    sizes = ", ".join(f"{count} of {size}" for size, count in list(audit["sizes"].items())[:5])
    lines = [
        f"## What was measured on the {audit['images']} images at hand",
        "",
        "| source and label | images |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in audit["per_source_and_label"].items()),
        "",
        f"Persons: {audit['persons']}. Boxes around tumours: {audit['boxes']}. Pixels: {sizes}. Exact duplicates:"
        f" {audit['exact_duplicates']}. Images whose only near-duplicates are mirrored or turned: {turned or 'none'}."
        f" Unreadable files: {len(audit['unreadable'])}.",
    ]
    return "\n".join(lines)


def _split(split: dict[str, Any]) -> str:
    labels = list(next(iter(split["counts"].values())))
    lines = [
        "## Split",
        "",
        "By person, and by group of near-duplicates where no person is known; those of published sources as in"
        f" `training/data/published/parts.csv`. SHA-256 `{split['sha256']}`, of the manifest"
        f" `{split['manifest_sha256']}`.",
        "",
        "| subset | " + " | ".join(f"{label}: images (units, persons)" for label in labels) + " | use |",
        "|---|" + "---|" * (len(labels) + 1),
    ]
    for subset, counts in split["counts"].items():
        cells = " | ".join(
            f"{counts[label]['images']} ({counts[label]['units']}, {counts[label]['persons']})" for label in labels
        )
        lines.append(f"| {subset} | {cells} | {_USE[subset]} |")
    return "\n".join(lines)


def _outliers(novelty: dict[str, Any]) -> str:
    if not novelty:
        return "## Images that are not slices\n\nNone were used: the model has no novelty detector."
    far = f"{novelty['far']['images']} photographs. " if "far" in novelty else "No photographs were at hand. "
    near = novelty["near"]
    lines = [
        "## Images that are not slices",
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
