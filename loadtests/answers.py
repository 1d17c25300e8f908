"""Looks at every answer: a wrong one is a failure, however fast it came."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.outcomes import WrongAnswer

ABSTENTIONS = ("not_a_brain_mri", "unsure")
"""Verdicts that are no label."""

SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may be from 1."""

SAME_TOLERANCE = 0.02
"""How far a probability may be from that of an earlier answer to the same image; other batches round otherwise."""


@dataclass
class Earlier:
    """The first answer to each image by each version of the model, to which later ones are compared.

    Attributes:
        first: Probabilities by image and version.
    """

    first: dict[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)

    def learn(self, image: str, version: str, probabilities: Sequence[float]) -> None:
        """Remembers the answer to an image that was sent alone, unless there is one, and compares it."""
        self.first.setdefault((image, version), tuple(probabilities))
        self.compare(image, version, probabilities)

    def compare(self, image: str, version: str, probabilities: Sequence[float]) -> None:
        """Compares with the first answer, where there is one.

        Raises:
            WrongAnswer: They differ.
        """
        known = self.first.get((image, version), probabilities)
        if any(abs(a - b) > SAME_TOLERANCE for a, b in zip(known, probabilities, strict=True)):
            raise WrongAnswer("another answer than before to the same image")


def read_json(body: bytes) -> dict[str, Any]:
    """Returns the object in a JSON body.

    Raises:
        WrongAnswer: It is none.
    """
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise WrongAnswer("no JSON object")
    return document


def check_prediction(body: Mapping[str, Any], labels: Sequence[str]) -> tuple[str, list[float]]:
    """Checks one prediction of `/predict`.

    Args:
        body: The JSON object.
        labels: Of the model, in its order.

    Returns:
        The version of the model that answered, and the probabilities.

    Raises:
        WrongAnswer: It does not hold what the interface promises.
    """
    try:
        named, verdict, label = body["probabilities"], body["verdict"], body["label"]
        version = str(body["model"]["version"])
        confidence = float(body["confidence"])
        probabilities = [float(value) for value in named.values()]
        names = list(named)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise WrongAnswer("fields of a prediction are missing") from None
    if names != list(labels):
        raise WrongAnswer("other labels than the model has")
    check_probabilities(probabilities)
    if not math.isclose(confidence, max(probabilities), abs_tol=SUM_TOLERANCE):
        raise WrongAnswer("the confidence is not the largest probability")
    if verdict not in (*labels, *ABSTENTIONS) or (verdict in labels and verdict != label):
        raise WrongAnswer("the verdict is unknown, or not the label")
    if verdict in labels and probabilities[names.index(verdict)] < max(probabilities):
        raise WrongAnswer("the verdict is not the most probable label")
    return version, probabilities


def check_probabilities(values: Sequence[float]) -> None:
    """Checks that they are probabilities and sum to 1.

    Raises:
        WrongAnswer: They do not.
    """
    # NaN fails both comparisons.
    if not all(0 <= value <= 1 for value in values) or not abs(sum(values) - 1) <= SUM_TOLERANCE:
        raise WrongAnswer("the probabilities do not sum to 1")


def check_id(sent: str, *received: object) -> None:
    """Checks that every place that repeats the id of the request does.

    Raises:
        WrongAnswer: One does not: perhaps it is the answer to another request.
    """
    if any(one != sent for one in received):
        raise WrongAnswer("the id of another request")


def check_batch(body: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """Checks the frame of an answer of `/predict_batch` and returns its results, in order.

    Raises:
        WrongAnswer: The number of results is wrong, or one of them is an error.
    """
    results = body.get("results")
    if not isinstance(results, list) or len(results) != count or body.get("count") != count:
        raise WrongAnswer("another number of results than images")
    if body.get("errors") != 0 or any("error" in result for result in results):
        raise WrongAnswer("errors for good images")
    return results
