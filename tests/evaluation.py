"""The documents of an evaluation, as `training.release` writes them into a bundle, with figures of a small test set."""

import json
from pathlib import Path
from typing import Any

from brainmri.model.contract import LABELS

CONFUSION = [[45, 5, 0, 0], [10, 30, 5, 5], [0, 0, 50, 0], [0, 2, 0, 48]]


def metrics() -> dict[str, Any]:
    """Returns the content of `metrics.json`; its intervals are made up, its shares are those of `CONFUSION`."""
    recalls = {label: row[place] / sum(row) for place, (label, row) in enumerate(zip(LABELS, CONFUSION, strict=True))}
    classes = {
        label: {"precision": 0.9, "recall": recall, "recall_ci95": [recall - 0.1, min(1.0, recall + 0.1)], "f1": 0.9,
                "support": 50, "roc_auc": 0.99}
        for label, recall in recalls.items()
    }  # fmt: skip
    person = {
        "images": 200,
        "persons": 20,
        "accuracy": 173 / 200,
        "accuracy_ci95": [0.8, 0.92],
        "macro_f1": 0.861,
        "macro_f1_ci95": [0.79, 0.91],
        "per_class": classes,
        "confusion": CONFUSION,
        "log_loss": 0.4,
    }
    external = {"images": 80, "groups": 70, "found": 0.75, "found_ci95": [0.64, 0.84], "refused": 0.02}
    normal = {"images": 40, "called_notumor": 0.95, "called_notumor_ci95": [0.84, 0.99], "refused": 0.0}
    return {"person": person, "external": {"br35h": external}, "normal": normal, "runtime": "openvino-f32"}


def predictions(answers: list[tuple[float, bool]]) -> str:
    """Returns the content of `predictions.csv` for slices of glioma, by confidence and whether the answer is right."""
    head = "name,subset,person,group,label,predicted,verdict,confidence,p_notumor,novelty"
    rows = [
        f"{number}.jpg,test,p{number},,glioma,{label},{label},{confidence},0.01,1.0"
        for number, (confidence, right) in enumerate(answers)
        for label in ["glioma" if right else "meningioma"]
    ]
    return "\n".join([head, *rows, "x.jpg,external,,g,tumour,glioma,glioma,0.4,0.1,1.0", ""])


def write_evaluation(bundle: Path) -> None:
    """Writes both documents into a bundle: half of 150 answers are less sure and right in 3 of 5."""
    answers = [(0.6, number % 5 < 3) for number in range(75)] + [(0.9, True)] * 75
    (bundle / "metrics.json").write_text(json.dumps(metrics()))
    (bundle / "predictions.csv").write_text(predictions(answers))
