"""What a report says, before it has a form: the images with their answers, and what they say together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from brainmri import __version__
from brainmri.bulk.quality import Quality, quality_of
from brainmri.errors import BrainMRIError, RequestTooLarge
from brainmri.imaging import PREPROCESSING_VERSION, SIDE
from brainmri.model.contract import RELEASED_CLASSES
from brainmri.model.explanation import Explain
from brainmri.model.heat_picture import Style, overlay_png
from brainmri.model.predictor import Prediction, Predictor
from brainmri.report.words import exact, name_of, short_verdict

MOST_IMAGES = 500
"""Most images of one report."""

ALONE_SIDE = 640
"""Longest side of the picture in a report of one image, in pixels."""

THUMBNAIL_SIDE = 96
"""Longest side of the pictures in a report of several images, in pixels."""

NO_ANSWER = "No answer"


@dataclass(frozen=True)
class Entry:
    """One image of a report.

    Attributes:
        name: As the caller named it.
        answer: The prediction, or why there is none.
        picture: PNG of the image; None where nothing draws it.
        heat: PNG of the image with its heat map over it; None where there is no map.
        truth: Its true label; None where none is known.
    """

    name: str
    answer: Prediction | BrainMRIError
    picture: bytes | None
    heat: bytes | None = None
    truth: str | None = None

    @property
    def prediction(self) -> Prediction | None:
        """The answer, if there is one."""
        return self.answer if isinstance(self.answer, Prediction) else None

    @property
    def verdict(self) -> str:
        """The verdict in a word or two."""
        return NO_ANSWER if isinstance(self.answer, BrainMRIError) else short_verdict(self.answer.verdict)

    @property
    def explained(self) -> str | None:
        """Name of the class that the heat map explains."""
        explanation = None if self.prediction is None else self.prediction.explanation
        return None if explanation is None or self.heat is None else name_of(explanation.heat_map.label)

    @property
    def mistaken(self) -> bool:
        """Whether a class is named, and it is not the true one."""
        found = self.prediction
        return (
            found is not None
            and self.truth is not None
            and found.verdict in found.probabilities
            and found.verdict != self.truth
        )


@dataclass(frozen=True)
class Report:
    """Everything that a report says.

    Attributes:
        title: Its heading.
        notice: What it may be used for.
        facts: Term and value: the model, the date, the settings.
        entries: The images, at least one.
        labelled: Whether true labels were asked for.
        labels: Classes of the model in the order of its logits.
    """

    title: str
    notice: str
    facts: Sequence[tuple[str, str]]
    entries: Sequence[Entry]
    labelled: bool = False
    labels: Sequence[str] = RELEASED_CLASSES.labels

    @property
    def totals(self) -> list[tuple[str, int]]:
        """Verdict and number of images, the most frequent first."""
        return Counter(entry.verdict for entry in self.entries).most_common()

    @cached_property
    def quality(self) -> Quality | None:
        """Figures against the true labels; None without a single answer whose label is known."""
        answered = [(entry.prediction, entry.truth) for entry in self.entries]
        labels = list(self.labels)
        known = [(found, labels.index(truth)) for found, truth in answered if found is not None and truth is not None]
        if not known:
            return None
        probabilities = np.array([[found.probabilities[label] for label in labels] for found, _ in known], np.float32)
        given = np.array([found.verdict in labels for found, _ in known])
        unlabelled = sum(found is not None and truth is None for found, truth in answered)
        truths = np.array([truth for _, truth in known], np.int8)
        return quality_of(probabilities, truths, given, unlabelled, labels)


def report_of(
    predictor: Predictor, entries: Sequence[Entry], made: datetime, *, policy: str, style: Style, labelled: bool = False
) -> Report:
    """Returns the report of a model's answers.

    Args:
        predictor: The model.
        entries: The images, at least one.
        made: When, with a time zone.
        policy: What is answered for pictures that are not slices; a value of BRAINMRI_NOVELTY_POLICY.
        style: How heat maps are drawn.
        labelled: Whether true labels were asked for.
    """
    model, contract = predictor.model, predictor.contract
    calibration = contract.calibration(model.runtime)
    facts = [
        ("Model", f"{model.name} {model.version}"),
        ("Runtime", model.runtime),
        ("Made", made.strftime("%d %B %Y, %H:%M %Z")),
        ("Software", f"brainmri {__version__}, preprocessing {PREPROCESSING_VERSION}"),
        ("Unsure", f"below a probability of {exact(calibration.min_confidence)}"),
    ]
    if calibration.novelty is not None:
        beyond = f"farther than {calibration.novelty.threshold:.2f} from the training slices"
        facts.append(("Not a brain MRI", f"{beyond}; policy {policy}"))
    if any(entry.heat for entry in entries):
        facts.append(("Heat maps", f"{style.palette}, opacity {style.opacity:g}; bright parts weighed most"))
    title = "What the model said of one image" if len(entries) == 1 else f"What the model said of {len(entries)} images"
    return Report(title, contract.notice, facts, entries, labelled, contract.labels)


def wanted(predictor: Predictor, label: str | None) -> Explain | None:
    """Returns what to ask beside each prediction: a heat map wherever the model has them.

    Args:
        predictor: The model.
        label: Class that the maps explain; the most probable one if None.

    Raises:
        HeatMapUnavailable: A class is named, and the model carries no heat map.
        MalformedRequest: There is no such class.
    """
    if label is None and not predictor.explains:
        return None
    predictor.require_heat_maps(label)
    return Explain(label)


def entry_of(name: str, answer: Prediction | BrainMRIError, style: Style, side: int, truth: str | None = None) -> Entry:
    """Returns one image of a report; takes some milliseconds with a heat map.

    Args:
        name: As the caller named it.
        answer: The prediction with its preview, and its explanation if there is one; or why there is none.
        style: How the heat map is drawn.
        side: Longest side of the pictures, see `picture_side`.
        truth: Its true label.
    """
    if isinstance(answer, BrainMRIError):
        return Entry(name, answer, None, truth=truth)
    explanation = answer.explanation
    heat = None
    if explanation is not None:
        heat = overlay_png(explanation.pixels, explanation.heat_map, style, min(side, SIDE))
    return Entry(name, answer, answer.preview, heat, truth)


def picture_side(images: int) -> int:
    """Returns the longest side of the pictures in a report of so many images, in pixels."""
    return ALONE_SIDE if images == 1 else THUMBNAIL_SIDE


def too_many(most: int, remedy: str) -> RequestTooLarge:
    """Returns the error for one image more than the `most` that a report takes."""
    return RequestTooLarge(f"A report holds at most {most} images. {remedy}", limit=f"{most} images")
