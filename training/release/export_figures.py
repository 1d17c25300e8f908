"""How the exported runtimes of a bundle compare with its reference: labels, probabilities, novelty, speed, size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from brainmri.model.contract import Contract, Measurement
from brainmri.model.novelty import open_detector
from brainmri.settings import RuntimeChoice
from training.data.outliers import Outliers
from training.data.slices import Slices
from training.data.sources import TEST, VALIDATION
from training.release.detection import detection
from training.release.evaluate import compare
from training.release.export_int8 import MOST_FLIPS
from training.release.export_speed import measure_speed
from training.release.outputs import REFERENCE, Outputs

MOST_F1_DIFFERENCE, MOST_AUROC_DIFFERENCE = 0.003, 0.005
"""What an artefact may differ by and still be shipped, beside `export_int8.MOST_FLIPS`."""


@dataclass(frozen=True)
class Held:
    """What runtimes are compared on.

    Attributes:
        slices: The decoded sources.
        outliers: Images that are not slices.
    """

    slices: Slices
    outliers: Outliers


def measure(outputs: Outputs, choice: RuntimeChoice, held: Held, processor: str, threads: int) -> Measurement:
    """Compares one runtime with the reference, on validation and test.

    Raises:
        RuntimeUnavailable: The artefact or the package is missing.
    """
    contract, name = outputs.bundle.contract, outputs.name(choice)
    served, reference, labels = [], [], []
    for subset in (VALIDATION, TEST):
        rows = held.slices.subset(subset)
        served.append(outputs.of(choice, held.slices.pixels, rows).logits)
        reference.append(outputs.of(REFERENCE, held.slices.pixels, rows).logits)
        labels.append(held.slices.labels[rows])
    found = compare(
        np.concatenate(served),
        np.concatenate(reference),
        np.concatenate(labels),
        contract.calibration(name).temperature,
    )
    speed = measure_speed(outputs.bundle, choice, threads)
    return Measurement(
        runtime=name,
        compared_images=int(found["compared_images"]),
        label_flips=found["label_flips"],
        largest_probability_difference=found["largest_probability_difference"],
        macro_f1_difference=found["macro_f1_difference"],
        novelty_auroc_difference=_auroc_difference(outputs, choice, held),
        images_per_s=speed.images_per_s,
        resident_mib=speed.resident_mib,
        processor=processor,
    )


def shortfalls(measurement: Measurement) -> list[str]:
    """Returns which limits of a shipped artefact it breaks; none of them is named when it may be shipped."""
    found = {
        "label flips": (measurement.label_flips, MOST_FLIPS),
        "macro-F1": (abs(measurement.macro_f1_difference), MOST_F1_DIFFERENCE),
        "novelty AUROC": (abs(measurement.novelty_auroc_difference or 0.0), MOST_AUROC_DIFFERENCE),
    }
    return [f"{name} {value:.4f} > {limit:g}" for name, (value, limit) in found.items() if value > limit]


def table(contract: Contract, measurements: Sequence[Measurement]) -> str:
    """Returns a Markdown table, one row for each measurement."""
    sizes = {artefact.runtime: artefact for artefact in contract.artefacts}
    lines = [
        "| runtime | MB | SHA-256 of the weights | label flips | largest probability difference"
        " | macro-F1 difference | novelty AUROC difference | images/s at batch 1, 8, 32 | MiB | may be shipped |",
        f"|{'---|' * 10}",
    ]
    for row in measurements:
        artefact = sizes.get(row.runtime)
        auroc = "" if row.novelty_auroc_difference is None else f"{row.novelty_auroc_difference:+.4f}"
        cells = [
            row.runtime,
            f"{artefact.bytes / 1e6:.1f}" if artefact else "as f32",
            f"`{_weights_hash(artefact.files)[:12]}`" if artefact else "",
            f"{row.label_flips:.2%} of {row.compared_images}",
            f"{row.largest_probability_difference:.3f}",
            f"{row.macro_f1_difference:+.4f}",
            auroc,
            ", ".join(f"{speed:.1f}" for speed in row.images_per_s.values()),
            f"{row.resident_mib:.0f}",
            "; ".join(shortfalls(row)) or "yes",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _auroc_difference(outputs: Outputs, choice: RuntimeChoice, held: Held) -> float | None:
    served, reference = (_auroc(outputs, one, held) for one in (choice, REFERENCE))
    return None if served is None or reference is None else served - reference


def _auroc(outputs: Outputs, choice: RuntimeChoice, held: Held) -> float | None:
    """Returns the AUROC of the test slices against photographs and the near set together."""
    detector = open_detector(outputs.bundle, outputs.name(choice))
    if detector is None:
        return None
    slices = held.slices
    known = detector.score(outputs.of(choice, slices.pixels, slices.subset(TEST)).features)
    sets = [pixels for pixels in (held.outliers.far, held.outliers.near) if len(pixels)]
    others = np.concatenate([detector.score(outputs.of(choice, pixels).features) for pixels in sets])
    return float(detection(known, others, threshold=1.0)["auroc"])


def _weights_hash(files: dict[str, str]) -> str:
    return next(
        (sha256 for name, sha256 in files.items() if name.endswith((".bin", ".npz"))), next(iter(files.values()))
    )
