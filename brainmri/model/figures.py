"""How a released model did on images held out from it, for people: read from the documents of its bundle."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from brainmri.model.bundle import METRICS, PREDICTIONS, Bundle

BINS = 15
"""Of the reliability, as of the expected calibration error in `metrics.json`."""

_BY_PERSON = "test"
"""Subset of the images of people of whom no slice was trained on."""

Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[tuple[Share, Share], Field(description="Ends of the 95 % interval.")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ClassFigures(_Part):
    """One class against the others."""

    precision: Share
    recall: Share
    recall_ci95: Interval
    f1: Share
    support: int = Field(ge=0)
    """Images with this true label."""


class PersonFigures(_Part):
    """On slices of people of whom no slice was trained on."""

    images: int = Field(ge=1)
    accuracy: Share
    accuracy_ci95: Interval
    macro_f1: Share
    macro_f1_ci95: Interval
    per_class: dict[str, ClassFigures]
    """Label to its figures."""
    confusion: tuple[tuple[int, ...], ...] = Field(min_length=2)
    """Images by true label (row) and most probable label (column), in the order of the labels."""


class TumourFigures(_Part):
    """On tumours of another source, whose kind is not known."""

    images: int = Field(ge=1)
    found: Share
    """Share whose verdict is some tumour."""
    found_ci95: Interval


class NormalFigures(_Part):
    """On slices without a tumour, one of each group of near-duplicates."""

    images: int = Field(ge=1)
    called_notumor: Share
    """Share whose verdict is the label that means "no tumour"."""
    called_notumor_ci95: Interval


class ReliabilityBin(_Part):
    """Images with similar confidence."""

    images: int = Field(ge=1)
    confidence: Share
    """Mean of their largest probabilities."""
    accuracy: Share
    """Share whose most probable label is true."""


class Figures(_Part):
    """What the evaluation of a release found."""

    person: PersonFigures
    external: dict[str, TumourFigures] = Field(default_factory=dict)
    """Other source to what became of its tumours; `_unseen` ends the name where the network had seen none of it."""
    normal: NormalFigures | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    """Bins of equal mass by rising confidence, over the images of `person`; empty without its predictions."""


@dataclass(frozen=True)
class Documents:
    """What a bundle tells people about its model.

    Attributes:
        card: The model card, Markdown.
        figures: What its evaluation found; None where it had other figures.
    """

    card: str = ""
    figures: Figures | None = None

    @classmethod
    def of(cls, bundle: Bundle) -> "Documents":
        """Reads the documents of a bundle."""
        return cls(bundle.card(), read_figures(bundle))


def read_figures(bundle: Bundle) -> Figures | None:
    """Returns the figures of a bundle; None for a release whose evaluation had others, such as those up to 0.2.2."""
    try:
        figures = Figures.model_validate_json(_document(bundle, METRICS))
    except ValidationError:
        return None
    return figures.model_copy(update={"reliability": _reliability(_document(bundle, PREDICTIONS).splitlines())})


def _document(bundle: Bundle, name: str) -> str:
    path = bundle.folder / name
    # As for the card: a link would show a file from outside the bundle to everybody.
    if not path.is_file() or path.is_symlink():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def equal_mass_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Returns mean confidence, accuracy and number of images of `BINS` bins of equal mass, by rising confidence.

    Args:
        confidence: Largest probabilities, `[N]`.
        right: Whether the most probable label is true, `[N]`.
    """
    parts = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    return [(float(confidence[part].mean()), float(right[part].mean()), len(part)) for part in parts if len(part)]


def _reliability(lines: Iterable[str]) -> tuple[ReliabilityBin, ...]:
    try:
        rows = [row for row in csv.DictReader(lines) if row["subset"] == _BY_PERSON]
        confidence = np.array([float(row["confidence"]) for row in rows])
        right = np.array([row["predicted"] == row["label"] for row in rows], bool)
        bins = equal_mass_bins(confidence, right)
        return tuple(ReliabilityBin(images=images, confidence=mean, accuracy=share) for mean, share, images in bins)
    except (KeyError, ValueError):
        # A ValidationError is a ValueError.
        return ()
