"""An answer in plain sentences, the same as on the page; `tests/page` compares the two."""

import math
from dataclasses import dataclass
from typing import Literal

from brainmri.model.contract import LABELS
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE
from brainmri.model.predictor import Prediction

_NAMES = dict(zip(LABELS, ("Glioma", "Meningioma", "No tumour", "Pituitary tumour"), strict=True))
_LIKE = dict(zip(LABELS, ("a glioma", "a meningioma", "a slice without a tumour", "a pituitary tumour"), strict=True))
_ABOUT = dict(
    zip(
        LABELS,
        (
            "Gliomas grow from the supporting cells of the brain.",
            "Meningiomas grow from the membranes around the brain.",
            "The model knows three kinds of tumour; this slice resembles the slices without one.",
            "Pituitary tumours grow from the gland below the brain.",
        ),
        strict=True,
    )
)
_RELEASED = set(LABELS)

MOST_COLUMNS = 6
"""Most classes that have a column each in a table of limited width; of more, the `LIKELIEST` share one."""

LIKELIEST = 3
"""So many classes are named where not all have room."""

_NAMED_IF_UNSURE = 0.2
"""Classes of an unsure answer are named from this probability on, at least two and at most three of them."""


@dataclass(frozen=True)
class Words:
    """An answer for a person.

    Attributes:
        tone: Whether a class is named with confidence, none is, or the image is not a slice.
        sentence: The verdict.
        more: What the verdict means.
    """

    tone: Literal["sure", "unsure", "foreign"]
    sentence: str
    more: str


def in_words(prediction: Prediction) -> Words:
    """Returns an answer in words."""
    if prediction.verdict == NOT_A_BRAIN_MRI:
        return _foreign(prediction)
    if prediction.verdict == UNSURE:
        named = [pair for place, pair in enumerate(prediction.ranked) if place < 2 or pair[1] >= _NAMED_IF_UNSURE][:3]
        listed = ", ".join(f"{name_of(label).lower()} {percent(share)}" for label, share in named)
        return Words("unsure", f"Not sure: {listed}.", "No class is likely enough to be named as the answer.")
    share = percent(prediction.confidence)
    if prediction.probabilities.keys() != _RELEASED:
        # What a model of other classes means by one of these names is not known.
        return Words("sure", f"Most like {name_of(prediction.verdict)}; {share} sure.", "")
    like = _LIKE[prediction.verdict]
    return Words("sure", f"Most like {like}; {share} sure.", _ABOUT[prediction.verdict])


def _foreign(prediction: Prediction) -> Words:
    start = "This does not look like a brain MRI"
    if prediction.label is None:
        more = "The percentages below are what the network would say of any picture; they mean nothing here."
        return Words("foreign", f"{start}, so no class is given.", more)
    named = name_of(prediction.label).lower()
    return Words("foreign", f"{start}.", f"This server names a class for such pictures all the same: {named}.")


def name_of(label: str) -> str:
    """Returns a label as a name, such as `No tumour`; an own label is its words, such as `Grade 2`."""
    return _NAMES.get(label) or label.replace("_", " ").capitalize()


def short_verdict(verdict: str) -> str:
    """Returns a verdict in a word or two, for tables."""
    return {NOT_A_BRAIN_MRI: "Not a brain MRI", UNSURE: "Unsure"}.get(verdict) or name_of(verdict)


def likeliest(prediction: Prediction) -> str:
    """Returns the likeliest classes with their probabilities, for where not all have room."""
    return ", ".join(f"{name_of(label)} {exact(share)}" for label, share in prediction.ranked[:LIKELIEST])


def percent(share: float) -> str:
    """Returns a share in whole per cent, which neither rounds up to certainty nor down to nothing."""
    if 0.995 < share < 1:
        return "more than 99 %"
    if 0 < share < 0.005:
        return "less than 1 %"
    return f"{math.floor(share * 100 + 0.5)} %"


def exact(share: float) -> str:
    """Returns a share in per cent with one decimal, for bars and tables."""
    return f"{share * 100:.1f} %"
