"""A bundle whose classical model answers from the features of a network that was trained before."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from brainmri.errors import DatasetError
from brainmri.model import store
from brainmri.model.bundle import PREDICTIONS, Bundle, file_sha256, write_bundle
from brainmri.model.contract import Calibration, Contract
from training.data.origin import code_revision
from training.data.outliers import Outliers
from training.data.slices import UNNAMED, Slices
from training.data.sources import TEST, TRAIN
from training.release.calibrate import calibrate
from training.release.evaluate import evaluate, heads
from training.release.evaluation_plots import plot_evaluation
from training.release.export_speed import measure_speed, processor
from training.release.outputs import SERVING, Outputs
from training.release.predictions import prediction_rows, write_predictions
from training.release.register import ReleaseDocuments, release
from training.studies.classifiers import LARGEST_DIFFERENCE, Kind, fit_classifier, largest_difference, write_classifier

CLASSIFIER = "classifier/model.onnx"
"""Where a bundle keeps it."""
_NAMES: dict[Kind, str] = {"svm": "A support vector machine", "random_forest": "A random forest"}


@dataclass(frozen=True)
class Job:
    """What to make.

    Attributes:
        source: Bundle of the feature network; it has an artefact for `SERVING`.
        kind: Of the classical model.
        version: Of the bundle.
        models: Receives the bundle as `MODELS/SOURCE_KIND/`.
        threads: CPU threads.
        cache: Remembers what networks answered.
    """

    source: Bundle
    kind: Kind
    version: str
    models: Path
    threads: int
    cache: Path

    @property
    def name(self) -> str:
        """Returns the name of the bundle."""
        return f"{self.source.contract.name}_{self.kind}"


def make_classical(job: Job, slices: Slices, outliers: Outliers) -> tuple[Bundle, dict[str, Any], str]:
    """Fits, writes, calibrates, evaluates and registers a classical model; returns its bundle, figures and tag.

    The network's artefact and its novelty detector are taken as they are: the features are the same.

    Raises:
        DatasetError: ONNX differs from scikit-learn by more than `LARGEST_DIFFERENCE`.
        InvalidBundle: The store holds another model of this name and version.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        onnx = scratch / "model.onnx"
        made = _fit(job, slices, onnx)
        plain = Outputs(_draft(job, scratch / "plain", onnx, ()), job.threads, job.cache)
        draft = _draft(job, scratch / "draft", onnx, (_with_novelty_of(job.source, calibrate(plain, SERVING, slices)),))
        documents = _documents(job, draft, made, slices, outliers, scratch)
        # The store refuses a version that it has: what is in `models` is replaced only after that.
        tag = store.import_bundle(release(scratch / "release", draft.contract, draft.folder, documents).folder)
        bundle = release(job.models / job.name, draft.contract, draft.folder, documents)
    return bundle, documents.metrics, tag


def _fit(job: Job, slices: Slices, path: Path) -> dict[str, Any]:
    """Writes the fitted model and returns how it was made."""
    outputs = Outputs(job.source, job.threads, job.cache)
    rows = slices.first_of_each_group(TRAIN)
    rows = rows[slices.labels[rows] != UNNAMED]
    features = outputs.of(SERVING, slices.pixels, rows).features
    fitted = fit_classifier(job.kind, features, slices.labels[rows], heads(slices, rows))
    write_classifier(fitted, path)
    held_out = outputs.of(SERVING, slices.pixels, slices.subset(TEST)).features
    difference = largest_difference(fitted, path, np.concatenate([features, held_out]))
    if difference > LARGEST_DIFFERENCE:
        raise DatasetError(
            f"ONNX gives probabilities that differ from scikit-learn's by {difference:.1e}; the limit is"
            f" {LARGEST_DIFFERENCE:.0e}. Nothing was written."
        )
    return {
        "kind": job.kind,
        "features_of": job.source.contract.tag,
        "fitted_on": len(rows),
        "compared_on": len(features) + len(held_out),
        "largest_difference_from_scikit_learn": difference,
    }


def _with_novelty_of(source: Bundle, calibration: Calibration) -> Calibration:
    return calibration.model_copy(update={"novelty": source.contract.calibration(calibration.runtime).novelty})


def _draft(job: Job, folder: Path, onnx: Path, calibrations: tuple[Calibration, ...]) -> Bundle:
    runtime = Outputs(job.source, job.threads).artefact(SERVING).runtime
    return write_bundle(
        folder,
        _contract(job, onnx, calibrations),
        {runtime: job.source.folder / runtime},
        {},
        "",
        detectors={each.runtime: job.source.folder / each.novelty.file for each in calibrations if each.novelty},
        classifier=onnx,
    )


def _contract(job: Job, onnx: Path, calibrations: tuple[Calibration, ...]) -> Contract:
    source = job.source.contract
    made = source.provenance
    provenance = {
        "architecture": made.architecture | {"classifier": job.kind},
        "code_revision": code_revision(),
        "created": datetime.now(UTC).replace(microsecond=0),
    }
    classifier = {
        "kind": job.kind,
        "file": CLASSIFIER,
        "sha256": file_sha256(onnx),
        "bytes": onnx.stat().st_size,
    }
    changes = {
        "schema_version": max(3, source.schema_version),
        "name": job.name,
        "serving_name": job.name,
        "version": job.version,
        "temperature": calibrations[0].temperature if calibrations else 1.0,
        "artefacts": (),
        "calibrations": [each.model_dump() for each in calibrations],
        "measurements": (),
        "explanation": None,
        "classifier": classifier,
        "provenance": made.model_dump() | provenance,
    }
    return Contract.from_parts(**source.model_dump() | changes)


def _documents(
    job: Job, draft: Bundle, made: dict[str, Any], slices: Slices, outliers: Outliers, scratch: Path
) -> ReleaseDocuments:
    outputs = Outputs(draft, job.threads, job.cache)
    evaluation = evaluate(outputs, slices, outliers)
    speed = measure_speed(draft, SERVING, job.threads)
    figures = plot_evaluation(evaluation, outputs, outliers, slices, scratch / "figures")
    write_predictions(scratch / PREDICTIONS, prediction_rows(evaluation.subsets, slices))
    metrics = evaluation.metrics | {
        "classifier": made,
        "speed": {"images_per_s": speed.images_per_s, "processor": processor(job.threads)},
    }
    others = {PREDICTIONS: (scratch / PREDICTIONS).read_text()}
    return ReleaseDocuments(metrics, _card(draft.contract, metrics), others, figures)


def _card(contract: Contract, metrics: dict[str, Any]) -> str:
    person, made = metrics["person"], metrics["classifier"]
    low, high = person["macro_f1_ci95"]
    sections = [
        f"# {contract.name} {contract.version}",
        f"**{contract.notice}**",
        f"{_NAMES[made['kind']]} on the {contract.feature_size} features of `{made['features_of']}`, fitted to"
        f" {made['fitted_on']} training slices, one of each group, and served as ONNX. On {made['compared_on']} slices"
        f" no probability differs from scikit-learn's by more than {made['largest_difference_from_scikit_learn']:.1e}.",
        "## Intended use\n\n" + contract.intended_use,
        f"## Results\n\nBy person, {person['images']} images: accuracy {person['accuracy']:.4f}, macro-F1"
        f" {person['macro_f1']:.4f} ({low:.4f} to {high:.4f}), ECE {person['ece']:.4f}. `metrics.json` has the rest,"
        " `predictions.csv` the answer to every held-out image.",
    ]
    return "\n\n".join(sections) + "\n"
