"""Assembles the bundle of a trained run, and puts a released one into the BentoML model store."""

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from brainmri.bundle import Bundle, write_bundle
from brainmri.contract import LABELS, Contract
from brainmri.imaging import PREPROCESSING_VERSION, SIDE
from training.model import FEATURES
from training.recipe import Recipe

MODEL_NAME, SERVING_NAME = "brain_mri_xception", "brain_mri"
LICENCE = "Apache-2.0"
INTENDED_USE = (
    "Research and teaching on model serving, with axial, coronal and sagittal brain-MRI slices like those of the"
    " training set. Not for patients: no diagnosis, triage or treatment may rest on its answers."
)
RESIZE_RULE = "decode to 8 bits, stretch to 299x299 with Pillow's antialiased bilinear filter, grey as three channels"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        data_sha256: Hash of the audit's manifest.
        split_sha256: Hash of the split.
    """

    data_sha256: str
    split_sha256: str


def make_contract(
    recipe: Recipe, origin: Origin, model: keras.Model, version: str, temperature: float = 1.0
) -> Contract:
    """Returns the contract of a trained model; the artefacts are filled in when the bundle is written."""
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
        feature_size=model.get_layer(FEATURES).output.shape[-1],
        temperature=temperature,
        provenance={
            "architecture": {"architecture": recipe.architecture, "downsample": downsample},
            "recipe": recipe.name,
            "data_sha256": origin.data_sha256,
            "split_sha256": origin.split_sha256,
            "code_revision": code_revision(),
            "keras_backend": keras.backend.backend(),
            "keras_version": keras.__version__,
            "created": datetime.now(UTC).replace(microsecond=0),
        },
        licence=LICENCE,
        intended_use=INTENDED_USE,
    )


def code_revision() -> str:
    """Returns the git commit of this checkout, with `-dirty` for uncommitted changes, or `unknown` outside of one."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout.strip()
