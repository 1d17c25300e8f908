"""Models side by side on the same held-out images, each against the first: figures, intervals, tests, cost."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from brainmri.errors import DatasetError
from brainmri.model.bundle import Bundle
from brainmri.model.contract import LABELS
from training import metrics
from training.data.slices import Slices
from training.data.sources import TEST
from training.data.split import EXTERNAL
from training.data.workspace import Workspace
from training.release.answers import Answers, answer
from training.release.evaluate import heads
from training.release.export_speed import measure_speed
from training.release.outputs import SERVING, Outputs
from training.studies.cost import cost


@dataclass(frozen=True)
class Against:
    """One model against the first on the same images.

    Attributes:
        accuracy_difference: Its accuracy less that of the first.
        accuracy_difference_ci95: From a bootstrap over persons, the same ones drawn for both.
        only_it: Images that it alone answers rightly.
        only_the_first: Images that the first alone answers rightly.
        mcnemar_p: Exact two-sided p-value of McNemar's test, images taken as independent.
    """

    accuracy_difference: float
    accuracy_difference_ci95: list[float]
    only_it: int
    only_the_first: int
    mcnemar_p: float


@dataclass(frozen=True)
class Compared:
    """One row of the table.

    Attributes:
        model: Tag.
        network: What the contract says of the network.
        side: Pixels that it sees.
        runtime: Runtime and precision.
        images: Test images, all of them of persons that no training has seen.
        accuracy: On these.
        accuracy_ci95: From a bootstrap over persons.
        macro_f1: On these.
        macro_f1_ci95: From a bootstrap over persons.
        ece: Expected calibration error.
        found_elsewhere: Share of the tumours of another source that are called some tumour; None without that source.
        megabytes: Of the files that serving reads.
        parameters: Of kernels.
        gflop: For one image.
        images_per_s: Batch size to images a second.
        ms: Milliseconds of one image alone.
        training_s: Seconds of training; None where the run is not at hand.
        against: None for the first.
    """

    model: str
    network: dict[str, Any]
    side: int
    runtime: str
    images: int
    accuracy: float
    accuracy_ci95: list[float]
    macro_f1: float
    macro_f1_ci95: list[float]
    ece: float
    found_elsewhere: float | None
    megabytes: float
    parameters: int
    gflop: float
    images_per_s: dict[str, float]
    ms: float
    training_s: float | None
    against: Against | None


@dataclass(frozen=True)
class Comparison:
    """The table, and what its figures are drawn from.

    Attributes:
        processor: Where speed was measured.
        rows: The first is what the others are compared with.
        answers: To the test images, in the order of the rows.
        histories: Epochs of each training by model; of those whose run is at hand.
        labels: Of all of them.
    """

    processor: str
    rows: list[Compared]
    answers: list[Answers]
    histories: dict[str, list[dict[str, float]]]
    labels: tuple[str, ...] = LABELS

    def as_json(self) -> dict[str, Any]:
        """Returns the table for machines."""
        return {"processor": self.processor, "models": [asdict(row) for row in self.rows]}


def compare(bundles: Sequence[Bundle], slices: Slices, space: Workspace, threads: int, processor: str) -> Comparison:
    """Asks every bundle about the test images and those of another source, and measures its speed.

    Raises:
        DatasetError: A model is named twice, fewer than two are named, or their labels differ.
        RuntimeUnavailable: A bundle carries nothing for OpenVINO.
    """
    tags = [bundle.contract.tag for bundle in bundles]
    if len(set(tags)) != len(tags) or len(tags) < 2:
        raise DatasetError(f"Name two different models or more to compare; these were named: {', '.join(tags)}.")
    if len({bundle.contract.labels for bundle in bundles}) > 1:
        raise DatasetError("The models have different labels. Compare models of the same labels.")
    outputs = [Outputs(bundle, threads, space.outputs) for bundle in bundles]
    answers = [answer(each, slices, TEST) for each in outputs]
    persons = heads(slices, answers[0].rows)
    histories = {tag: past for tag, each in zip(tags, bundles, strict=True) if (past := _history(each, space))}
    rows = [
        _row(each, found, answers[0] if number else None, persons, slices, histories.get(tags[number]), threads)
        for number, (each, found) in enumerate(zip(outputs, answers, strict=True))
    ]
    return Comparison(processor, rows, answers, histories, slices.classes.labels)


def against(ours: NDArray[np.bool_], first: NDArray[np.bool_], persons: NDArray[np.intp]) -> Against:
    """Returns how a model compares with the first, from which of the images `[N]` each answers rightly."""
    only_it, only_the_first = int((ours & ~first).sum()), int((first & ~ours).sum())
    differing = only_it + only_the_first
    return Against(
        accuracy_difference=float(ours.mean() - first.mean()),
        accuracy_difference_ci95=metrics.bootstrap_interval(lambda i: float(ours[i].mean() - first[i].mean()), persons),
        only_it=only_it,
        only_the_first=only_the_first,
        mcnemar_p=float(binomtest(only_it, differing).pvalue) if differing else 1.0,
    )


def _row(
    outputs: Outputs,
    found: Answers,
    first: Answers | None,
    persons: NDArray[np.intp],
    slices: Slices,
    history: list[dict[str, float]] | None,
    threads: int,
) -> Compared:
    contract, correct = outputs.bundle.contract, found.predicted == found.labels
    speed = measure_speed(outputs.bundle, SERVING, threads)
    elsewhere = answer(outputs, slices, EXTERNAL).finds_tumour if len(slices.subset(EXTERNAL)) else None
    paid = cost(outputs.bundle)
    return Compared(
        model=contract.tag,
        network=dict(contract.provenance.architecture),
        side=contract.network_side,
        runtime=outputs.name(SERVING),
        images=len(correct),
        accuracy=float(correct.mean()),
        accuracy_ci95=metrics.bootstrap_interval(lambda i: float(correct[i].mean()), persons),
        macro_f1=metrics.macro_f1(found.predicted, found.labels, len(contract.labels)),
        macro_f1_ci95=metrics.bootstrap_interval(
            lambda i: metrics.macro_f1(found.predicted[i], found.labels[i], len(contract.labels)), persons
        ),
        ece=metrics.ece(found.likely, found.labels),
        found_elsewhere=None if elsewhere is None else float(elsewhere.mean()),
        megabytes=paid.megabytes,
        parameters=paid.parameters,
        gflop=paid.gflop,
        images_per_s=speed.images_per_s,
        ms=1000 / speed.images_per_s["1"],
        training_s=None if history is None else sum(row["seconds"] for row in history),
        against=None if first is None else against(correct, first.predicted == first.labels, persons),
    )


def _history(bundle: Bundle, space: Workspace) -> list[dict[str, float]] | None:
    """Returns the epochs of a bundle's training where its run is at hand; a classifier's network is not its own."""
    path: Path = space.run(bundle.contract.provenance.recipe) / "history.csv"
    if bundle.contract.classifier is not None or not path.is_file():
        return None
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
