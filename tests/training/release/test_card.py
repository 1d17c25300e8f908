from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainmri.model.contract import LABELS, Contract
from tests.tiny import contract_parts
from training import plots
from training.fit.recipe import Phase, Recipe
from training.release.card import write_card
from training.release.data_card import write_data_card

MEASURED = {
    "runtime": "openvino-int8", "compared_images": 100, "label_flips": 0.01, "largest_probability_difference": 0.2,
    "macro_f1_difference": 0.001, "novelty_auroc_difference": -0.002, "resident_mib": 210.4,
    "images_per_s": {"1": 40.0, "8": 42.0, "32": 38.0}, "processor": "EPYC, 2 of 2 threads",
}  # fmt: skip
RECIPE = Recipe(name="small", phases=(Phase(epochs=3, downsample=3), Phase(epochs=1, downsample=2)))


def described(images: int = 40, notumor: int = 10) -> dict[str, Any]:
    """Figures of one split."""
    confusion = np.diag([8, 9, notumor, 10])
    confusion[0, 1] = 2
    return {
        "images": images,
        "accuracy": 0.95,
        "accuracy_ci95": [0.9, 0.98],
        "macro_f1": 0.9412,
        "macro_f1_ci95": [0.9, 0.97],
        "per_class": {
            label: {
                "precision": 0.9, "recall": 0.8 if label == "glioma" else 0.95, "recall_ci95": [0.7, 0.99],
                "f1": 0.9, "support": notumor if label == "notumor" else 10,
            }
            for label in LABELS
        },
        "confusion": confusion.tolist(),
        "ece": 0.0123, "ece_before": 0.05, "ece_ci95": [0.0, 0.03], "ece_if_calibrated": 0.018,
        "brier": 0.08, "log_loss": 0.2, "augrc": 0.004,
        "accuracy_at_coverage": {"0.95": 0.9876},
        "unsure": {"below": 0.61, "share": 0.07, "accuracy_of_the_others": 0.99},
    }  # fmt: skip


def detected(images: int, passed: float) -> dict[str, Any]:
    return {"images": images, "auroc": 0.9911, "fpr95": 0.02, "aupr": 0.99, "passed": passed}


def figures() -> dict[str, Any]:
    """The content of a metrics.json."""
    source = {"images": 40, "accuracy": 0.95, "accuracy_ci95": [0.9, 0.98]}
    per_class = {label: {"images": 10, "recall": 0.9} for label in LABELS}
    return {
        "runtime": "openvino-int8",
        "given": described(),
        "leak_free": described(notumor=3),
        "grouped": described(),
        "per_source": {"grouped": {"merged": source | {"per_class": per_class}}},
        "sharper_input": {
            "images": 40,
            "accuracy": 0.95,
            "enlarged": {"label_flips": 0.025, "accuracy": 0.95},
            "enlarged_and_sharpened": {"label_flips": 0.05, "accuracy": 0.94},
        },
        "novelty": {
            "threshold": 1.42,
            "validation_kept": 0.975,
            "slices": {"images": 40, "kept": 0.97, "leak_free_kept": 0.96},
            "far": detected(200, 0.015),
            "near": detected(30, 0.1)
            | {
                "manifest_sha256": "c" * 64,
                "missing": [],
                "differing": [],
                "per_kind": {
                    "ct": detected(20, 0.25) | {"origin": "real"},
                    "noise": detected(10, 0.0) | {"origin": "drawn"},
                },
            },
        },
    }


@pytest.fixture
def card() -> str:
    contract = contract_parts(version="1.2.3", network_side=99, measurements=[MEASURED])
    return write_card(Contract.from_parts(**contract), RECIPE, figures())


def test_the_card_has_what_a_model_card_asks_for(card: str) -> None:
    assert card.startswith("# brain_mri_xception 1.2.3\n\n**Research use only")
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    for wanted in ("Intended use", "Results", "By source", "Failure cases", "Training", "Licence"):
        assert wanted in headings
    assert "Out of scope" in card
    assert "reproduce small" in card


def test_the_card_states_the_measured_figures(card: str) -> None:
    assert "0.9412 (0.900 to 0.970)" in card
    assert "Weakest class: glioma; it misses 20.0%" in card
    assert "holds only 3 images without a tumour" in card
    assert "95%: 0.9876" in card
    assert "Below 0.610 the verdict is `unsure`" in card
    assert "0.0500 before, 0.0123 after (0.000 to 0.030)" in card
    assert "| far: photographs | real | 200 | 0.9911 | 0.020 |" in card
    assert "2.50% of 40 hold-out slices change their label; sharpened as well, 5.00%" in card


def test_the_card_compares_the_runtimes_with_the_reference(card: str) -> None:
    row = "1.00% of 100 | 0.200 | +0.0010 | -0.0020 | 40.0, 42.0, 38.0 | 210 | label flips 0.0100 > 0.005 |"
    assert row in card
    assert "Measured on EPYC, 2 of 2 threads." in card


def test_the_card_names_what_fails_most(card: str) -> None:
    assert "2 of 10 glioma taken for meningioma" in card
    assert "Taken for a brain MRI most often: ct 25% of 20." in card


@pytest.mark.parametrize(("suffix", "said"), [("", ""), ("-dirty", " with changes that were not committed")])
def test_the_card_names_the_code_and_whether_it_was_committed(suffix: str, said: str) -> None:
    parts = contract_parts()
    parts["provenance"] |= {"code_revision": "0123456789abcdef" + suffix}
    assert f"Code `0123456789ab`{said}, Keras" in write_card(Contract.from_parts(**parts), RECIPE, figures())


def test_a_model_without_detector_says_so_in_its_card() -> None:
    plain = figures()
    del plain["novelty"]
    card = write_card(Contract.from_parts(**contract_parts()), RECIPE, plain)
    assert "It has no detector" in card


def test_the_card_tells_what_later_phases_did_otherwise_and_where_the_run_went_on() -> None:
    taught = {"distillation": {"teacher": "master"}, "mixup": 0.0, "augmentation": {"cutout": 0}}
    recipe = RECIPE.model_validate(RECIPE.model_dump() | {"phases": [{"epochs": 1}, {"epochs": 1} | taught]})
    page = write_card(Contract.from_parts(**contract_parts()), recipe, figures(), adopted="m:0.1.0")
    assert "Phase 2: mixup 0.0, an augmentation of its own, distillation from the recipe `master`." in page
    assert "Phase 1:" not in page
    assert "began with the float16 weights of `m:0.1.0`" in page


def test_the_data_card_counts_splits_leaks_and_outliers() -> None:
    per_label = dict.fromkeys(LABELS, 7)
    audit = {
        "images": 56,
        "per_part_and_label": {"Training": per_label, "Testing": per_label},
        "groups_per_label": dict.fromkeys(LABELS, 5),
        "testing_near_leaks_per_label": dict.fromkeys(LABELS, 2),
        "testing_leak_free_per_label": dict.fromkeys(LABELS, 3),
        "sizes": {"224x224": 56},
        "exact_duplicates": 4,
        "groups_with_two_labels": 0,
        "unreadable": {"a.jpg": "damaged"},
    }
    counts = {label: {"images": 6, "groups": 4} for label in LABELS}
    split = {"seed": 1, "sha256": "d" * 64, "manifest_sha256": "e" * 64, "counts": {"train": counts, "test": counts}}
    page = write_data_card(audit, split, figures()["novelty"])
    assert "56 images at hand" in page
    assert "| Testing images with a near-duplicate in Training | 2 | 2 | 2 | 2 |" in page
    assert "| train | 6 (4) | 6 (4) | 6 (4) | 6 (4) | trained on |" in page
    assert "| ct | real | 20 |" in page
    assert "Unreadable files: 1." in page
    assert "has no novelty detector" in write_data_card(audit, split, {})


@pytest.mark.parametrize("mistakes", [0, 3])
def test_mistakes_are_drawn_by_name_even_when_there_are_none(tmp_path: Path, mistakes: int) -> None:
    likely = np.full((mistakes, 4), 0.25, np.float32)
    names = [f"Te-gl_{i:04d}.jpg" for i in range(mistakes)]
    plots.plot_mistakes(names, likely, np.zeros(mistakes, np.intp), tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.width > 500
