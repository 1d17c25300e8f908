from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brainmri.model.contract import LABELS, Contract
from tests.tiny import contract_parts
from training import plots
from training.fit.recipe import Phase, Recipe
from training.release.card import Made, write_card
from training.release.data_card import write_data_card

MEASURED = {
    "runtime": "openvino-int8", "compared_images": 100, "label_flips": 0.01, "largest_probability_difference": 0.2,
    "macro_f1_difference": 0.001, "novelty_auroc_difference": -0.002, "resident_mib": 210.4,
    "images_per_s": {"1": 40.0, "8": 42.0, "32": 38.0}, "processor": "EPYC, 2 of 2 threads",
}  # fmt: skip
RECIPE = Recipe(name="small", phases=(Phase(epochs=3, downsample=3), Phase(epochs=1, downsample=2)))


def described(images: int = 40) -> dict[str, Any]:
    """Figures by person."""
    confusion = np.diag([8, 9, 10, 10])
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
                "f1": 0.9, "support": 10,
            }
            for label in LABELS
        },
        "recall": {label: 0.8 if label == "glioma" else 0.95 for label in LABELS},
        "confusion": confusion.tolist(),
        "temperature": 1.5, "ece": 0.0123, "ece_before": 0.05, "ece_ci95": [0.0, 0.03], "ece_if_calibrated": 0.018,
        "brier": 0.08, "log_loss": 0.2, "augrc": 0.004,
        "accuracy_at_coverage": {"0.95": 0.9876},
        "unsure_below": 0.61, "unsure": 0.07, "refused": 0.01, "accuracy_when_sure": 0.99,
    }  # fmt: skip


def tumours(images: int, found: float) -> dict[str, Any]:
    """Figures of tumours of another source."""
    figures: dict[str, Any] = {"images": images, "groups": images}
    for name, value in {"found": found, "called_notumor": 0.02, "refused": 0.03, "unsure": 0.04}.items():
        figures |= {name: value, f"{name}_ci95": [value - 0.01, value + 0.01]}
    return figures


def located(pointing: float) -> dict[str, Any]:
    return {"images": 30, "pointing": pointing, "pointing_strict": pointing / 2, "energy": 0.25}


def detected(images: int, passed: float) -> dict[str, Any]:
    return {"images": images, "auroc": 0.9911, "fpr95": 0.02, "aupr": 0.99, "passed": passed}


def figures() -> dict[str, Any]:
    """The content of a metrics.json."""
    return {
        "runtime": "openvino-int8",
        "person": described(),
        "normal": {"images": 20, "called_notumor": 0.95, "called_notumor_ci95": [0.76, 0.99]},
        "external": {
            "br35h": tumours(50, 0.94),
            "br35h_unseen": {"images": 253, "found": 0.87, "found_ci95": [0.8, 0.9]},
        },
        "baseline": {"person": {"macro_f1": 0.512}},
        "localisation": {
            "person": located(0.9),
            "br35h": located(0.8),
            "centre": located(0.56),
            "random": located(0.2),
        },
        "novelty": {
            "threshold": 1.42,
            "validation_kept": 0.975,
            "slices": {"images": 40, "kept": 0.97},
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
    return write_card(Contract.from_parts(**contract), RECIPE, figures(), Made())


def test_the_card_has_what_a_model_card_asks_for(card: str) -> None:
    assert card.startswith("# brain_mri_xception 1.2.3\n\n**Research use only")
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    for wanted in (
        "Intended use", "Results", "Where it looks", "Failure cases", "Training", "Withdrawn figures", "Licence",
    ):  # fmt: skip
        assert wanted in headings
    assert "Out of scope" in card
    assert "reproduce small" in card


def test_the_card_states_the_measured_figures(card: str) -> None:
    assert "| by person: macro-F1 | 40 | 0.9412 (0.900 to 0.970) |" in card
    assert "| tumours of another source, held-out groups: found | 50 | 0.940 (0.930 to 0.950) |" in card
    assert "| tumours of another source, held-out groups: verdict `notumor` | 50 | 0.020 (0.010 to 0.030) |" in card
    assert "by a network that saw none of it: found | 253 | 0.870 (0.800 to 0.900) |" in card
    assert '| normal slices, one of each group: verdict "no tumour" | 20 | 0.950 (0.760 to 0.990) |' in card
    assert "| baseline without anatomy, by person: macro-F1 | 40 | 0.512 |" in card
    assert "Weakest class: glioma; it misses 20.0%" in card
    assert "95%: 0.9876" in card
    assert "Below 0.610 the verdict is `unsure`: 7.0% of the images" in card
    assert "0.0500 before, 0.0123 after (0.000 to 0.030)" in card
    assert "| far: photographs | real | 200 | 0.9911 | 0.020 |" in card


def test_the_card_tells_where_the_network_looks_beside_the_centre_and_random_weights(card: str) -> None:
    assert "| held-out persons | 30 | 0.900 | 0.450 | 0.250 |" in card
    assert "| tumours of another source | 30 | 0.800 | 0.400 | 0.250 |" in card
    assert "| the image's centre, held-out persons | 30 | 0.560 | 0.280 | 0.250 |" in card
    assert "| random weights, held-out persons | 30 | 0.200 | 0.100 | 0.250 |" in card


def test_the_card_withdraws_earlier_figures_with_the_reason(card: str) -> None:
    withdrawn = card.split("## Withdrawn figures")[1].split("##", maxsplit=1)[0]
    assert "up to 0.2.2 are withdrawn" in withdrawn
    assert "once mirrored" in withdrawn
    assert "every patient of Testing is in Training" in withdrawn


def test_the_card_names_the_figures_below_the_bar_only_of_a_release_that_has_some(card: str) -> None:
    assert "Below the bar" not in card
    line = "person.macro_f1 is 0.9000; required: at least 0.96"
    page = write_card(Contract.from_parts(**contract_parts()), RECIPE, figures(), Made(missed=(line,)))
    assert f"- {line}" in page.split("## Below the bar")[1].split("##")[0]


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
    assert f"Code `0123456789ab`{said}, Keras" in write_card(Contract.from_parts(**parts), RECIPE, figures(), Made())


def test_a_model_without_detector_says_so_in_its_card() -> None:
    plain = figures()
    del plain["novelty"]
    card = write_card(Contract.from_parts(**contract_parts()), RECIPE, plain, Made())
    assert "It has no detector" in card


def test_the_card_tells_what_later_phases_did_otherwise_and_where_the_run_went_on() -> None:
    own = {"label_smoothing": 0.0, "augmentation": {"noise": 0}, "shares": {"glioma": 0.25, "notumor": 0.75}}
    recipe = RECIPE.model_validate(RECIPE.model_dump() | {"phases": [{"epochs": 1}, {"epochs": 1} | own]})
    page = write_card(Contract.from_parts(**contract_parts()), recipe, figures(), Made(adopted="m:0.1.0"))
    said = "Phase 2: label smoothing 0.0, an augmentation of its own, shares of labels glioma 0.25, notumor 0.75."
    assert said in page
    assert "Phase 1:" not in page
    assert "began with the float16 weights of `m:0.1.0`" in page


def test_the_card_counts_the_epochs_that_were_run() -> None:
    recipe = Recipe(name="short", phases=(Phase(epochs=8, stop_after=5, downsample=2), Phase(epochs=1)))
    page = write_card(Contract.from_parts(**contract_parts()), recipe, figures(), Made())
    assert "5 epochs at 149 pixels, then 1 epoch at 299 pixels" in page


def test_the_data_card_counts_sources_leaks_subsets_and_outliers() -> None:
    audit = {
        "images": 56,
        "per_source_and_label": {"figshare glioma": 30, "br35h tumour": 26},
        "persons": 12,
        "boxes": 31,
        "sizes": {"512x512": 56},
        "exact_duplicates": 4,
        "found_only_mirrored_or_turned": {"nickparvar": 9},
        "unreadable": {"a.jpg": "damaged"},
        "given": {
            "testing_images": 20, "exact_copies": 1, "near_duplicates": 5, "near_duplicates_in_any_position": 8,
            "with_a_person_of_training": 14, "leaking": 15,
        },
    }  # fmt: skip
    counts = {label: {"images": 6, "units": 4, "persons": 3} for label in (*LABELS, "tumour")}
    split = {"sha256": "d" * 64, "manifest_sha256": "e" * 64, "counts": {"train": counts, "external": counts}}
    page = write_data_card(audit, split, figures()["novelty"])
    assert "on the 56 images at hand" in page
    assert "| figshare glioma | 30 |" in page
    assert "Persons: 12. Boxes around tumours: 31. Pixels: 56 of 512x512. Exact duplicates: 4." in page
    assert "mirrored or turned: 9 of nickparvar. Unreadable files: 1." in page
    assert "20 Testing images at hand 1 are exact copies of one in Training, 5 near-duplicates, 8 with mirrored" in page
    assert "14 show a person of Training; 15 leak" in page
    assert "| train | 6 (4, 3) | 6 (4, 3) | 6 (4, 3) | 6 (4, 3) | 6 (4, 3) | trained on |" in page
    assert "| ct | real | 20 |" in page
    assert "| CC BY 4.0 |" in page
    assert "| CC0 1.0 |" in page
    assert "| not stated where it is published |" in page
    assert "has no novelty detector" in write_data_card(audit, split, {})


@pytest.mark.parametrize("mistakes", [0, 3])
def test_mistakes_are_drawn_by_name_even_when_there_are_none(tmp_path: Path, mistakes: int) -> None:
    likely = np.full((mistakes, 4), 0.25, np.float32)
    names = [f"Te-gl_{i:04d}.jpg" for i in range(mistakes)]
    plots.plot_mistakes(names, likely, np.zeros(mistakes, np.intp), tmp_path / "m.png")
    with Image.open(tmp_path / "m.png") as image:
        assert image.width > 500
