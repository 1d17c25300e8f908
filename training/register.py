"""Assembles the bundle of a trained run, and puts a released one into the BentoML model store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from brainmri.bundle import Bundle, write_bundle
from brainmri.contract import LABELS, Contract
from brainmri.imaging import PREPROCESSING_VERSION, SIDE
from training.checkpoint import Progress
from training.origin import code_revision
from training.recipe import Recipe

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


def make_contract(recipe: Recipe, progress: Progress, feature_size: int, version: str) -> Contract:
    """Returns the contract of a trained run, not yet calibrated; writing the bundle fills in the artefacts."""
    downsample = recipe.phases[-1].downsample
    return Contract.from_parts(
        schema_version=1,
        name=MODEL_NAME,
        serving_name=SERVING_NAME,
        version=version,
        labels=LABELS,
        input={
            "height": SIDE,
            "width": SIDE,
            "channels": 3,
            "dtype": "uint8",
            "layout": "NHWC",
            "preprocessing_version": PREPROCESSING_VERSION,
            "resize": RESIZE_RULE,
        },
        network_side=SIDE // downsample,
        feature_size=feature_size,
        provenance={
            "architecture": {"architecture": recipe.architecture, "downsample": downsample},
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


def release(
    folder: Path,
    contract: Contract,
    artefacts: dict[str, Path],
    metrics: dict[str, Any],
    card: str,
    figures: list[Path],
) -> Bundle:
    """Writes the verified bundle to `folder`, with what was evaluated noted in its metrics.

    Raises:
        InvalidBundle: An artefact is missing or the contract does not hold.
    """
    evaluated = {
        "model": contract.tag,
        "data_sha256": contract.provenance.data_sha256,
        "split_sha256": contract.provenance.split_sha256,
        "code_revision": code_revision(),
    }
    return write_bundle(folder, contract, artefacts, {"evaluated": evaluated} | metrics, card, figures)
