"""Assembles the bundle of a trained run, and puts a released one into the BentoML model store."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainmri.imaging import PREPROCESSING_VERSION, SIDE
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import RELEASED_CLASSES, Calibration, Contract, Explanation
from training.fit.checkpoint import Progress
from training.fit.recipe import Recipe

MODEL_NAME, SERVING_NAME = "brain_mri_xception", "brain_mri"
LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research and teaching on model serving, with axial, coronal and sagittal brain-MRI slices like those of the"
    " training set. Not for patients: no diagnosis, triage or treatment may rest on its answers."
)
RESIZE_RULE = (
    "decode to 8 bits, scale the longer side to 299 with Pillow's antialiased bilinear filter, centre on black,"
    " grey as three equal channels"
)


@dataclass(frozen=True)
class ReleaseDocuments:
    """What goes into a bundle for people and machines to read.

    Attributes:
        metrics: The content of `metrics.json`.
        card: The model card, Markdown.
        others: File name to text: the data card, the predictions.
        figures: Image files.
    """

    metrics: dict[str, Any]
    card: str
    others: dict[str, str]
    figures: list[Path]


def make_contract(
    recipe: Recipe,
    progress: Progress,
    feature_size: int,
    version: str,
    calibrations: list[Calibration],
    explanation: Explanation | None = None,
) -> Contract:
    """Returns the contract of a trained run; writing the bundle fills in the artefacts.

    Args:
        recipe: That was trained.
        progress: Of the run.
        feature_size: Length of the feature vector.
        version: Of the model.
        calibrations: That of the served runtime first; empty before calibration.
        explanation: What heat maps are made of; None when the network gives no feature map.
    """
    own = progress.classes != RELEASED_CLASSES
    return Contract.from_parts(
        schema_version=4 if own else 2,
        name=recipe.bundle_name,
        serving_name=SERVING_NAME if recipe.bundle_name == MODEL_NAME else recipe.bundle_name,
        version=version,
        labels=progress.classes.labels,
        no_tumor_label=progress.no_tumor if own else None,
        input={
            "height": SIDE,
            "width": SIDE,
            "channels": 3,
            "dtype": "uint8",
            "layout": "NHWC",
            "preprocessing_version": PREPROCESSING_VERSION,
            "resize": RESIZE_RULE,
        },
        network_side=recipe.side(recipe.phases[-1]),
        feature_size=feature_size,
        temperature=calibrations[0].temperature if calibrations else 1.0,
        calibrations=[calibration.model_dump() for calibration in calibrations],
        explanation=None if explanation is None else explanation.model_dump(),
        provenance={
            "architecture": recipe.network(recipe.phases[-1]),
            "recipe": recipe.name,
            "data_sha256": progress.manifest_sha256,
            "split_sha256": progress.split_sha256,
            "code_revision": progress.code_revision,
            "keras_backend": progress.keras_backend,
            "keras_version": progress.keras_version,
            "created": datetime.now(UTC).replace(microsecond=0),
        },
        licence=LICENCE,
        intended_use=INTENDED_USE,
    )


def release(folder: Path, contract: Contract, draft: Path, documents: ReleaseDocuments) -> Bundle:
    """Writes the verified bundle to `folder`, with what was evaluated noted in its metrics.

    Args:
        folder: Receives the bundle.
        contract: Of the draft, with the version to release.
        draft: Folder of the draft, whose artefacts and detectors are taken.
        documents: What people and machines read about it.

    Raises:
        InvalidBundle: An artefact is missing or the contract does not hold.
    """
    evaluated = {
        "model": contract.tag,
        "bundle_sha256": contract.digest(),
        "data_sha256": contract.provenance.data_sha256,
        "split_sha256": contract.provenance.split_sha256,
    }
    metrics = documents.metrics | {"evaluated": evaluated | documents.metrics.get("evaluated", {})}
    return write_bundle(
        folder,
        contract,
        {artefact.runtime: draft / artefact.runtime for artefact in contract.artefacts},
        {"evaluated": metrics.pop("evaluated")} | metrics,
        documents.card,
        documents.figures,
        detectors={c.runtime: draft / c.novelty.file for c in contract.calibrations if c.novelty is not None},
        head=None if contract.explanation is None else draft / contract.explanation.file,
        classifier=None if contract.classifier is None else draft / contract.classifier.file,
        documents=documents.others,
    )
