import math
from typing import Any

import pytest

from loadtests.answers import Earlier, check_batch, check_id, check_prediction, check_probabilities, read_json
from loadtests.outcomes import WrongAnswer

LABELS = ("glioma", "meningioma", "notumor", "pituitary")


def prediction(**changes: Any) -> dict[str, Any]:
    values = (0.7, 0.1, 0.15, 0.05)
    return {
        "label": "glioma",
        "confidence": 0.7,
        "probabilities": dict(zip(LABELS, values, strict=True)),
        "verdict": "glioma",
        "model": {"name": "m", "version": "1.0.0", "runtime": "r"},
        **changes,
    }


def test_a_right_prediction_tells_version_and_probabilities() -> None:
    assert check_prediction(prediction(), LABELS) == ("1.0.0", [0.7, 0.1, 0.15, 0.05])


@pytest.mark.parametrize(
    "abstention",
    [{"label": None, "verdict": "not_a_brain_mri"}, {"verdict": "unsure"}, {"label": "notumor", "verdict": "unsure"}],
)
def test_an_abstention_is_a_right_answer(abstention: dict[str, Any]) -> None:
    assert check_prediction(prediction(**abstention), LABELS)[0] == "1.0.0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": dict.fromkeys(LABELS, 0.3)}, "sum to 1"),
        ({"probabilities": dict.fromkeys(reversed(LABELS), 0.25)}, "other labels"),
        ({"probabilities": None}, "fields"),
        ({"confidence": 0.9}, "confidence"),
        ({"verdict": "healthy"}, "verdict is unknown"),
        ({"verdict": "meningioma"}, "verdict is unknown, or not the label"),
        ({"verdict": "meningioma", "label": "meningioma"}, "not the most probable"),
        ({"model": {"name": "m"}}, "fields"),
    ],
)
def test_a_wrong_prediction_is_a_failure(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongAnswer, match=message):
        check_prediction(prediction(**changes), LABELS)


@pytest.mark.parametrize("values", [[0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [0.5, 0.4]])
def test_what_is_no_distribution_is_a_failure(values: list[float]) -> None:
    with pytest.raises(WrongAnswer):
        check_probabilities(values)


def test_the_answer_to_another_request_is_a_failure() -> None:
    check_id("a", "a", "a")
    with pytest.raises(WrongAnswer, match="another request"):
        check_id("a", "a", "b")


def test_another_answer_to_the_same_image_is_a_failure_unless_the_model_has_changed() -> None:
    earlier = Earlier()
    earlier.learn("slice", "1.0.0", [0.7, 0.3])
    earlier.compare("slice", "1.0.0", [0.69, 0.31])
    earlier.compare("slice", "1.1.0", [0.2, 0.8])
    earlier.compare("unseen", "1.0.0", [0.2, 0.8])
    with pytest.raises(WrongAnswer, match="another answer than before"):
        earlier.compare("slice", "1.0.0", [0.6, 0.4])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"results": [{}], "count": 1, "errors": 0}, "number of results"),
        ({"results": [{}, {}], "count": 3, "errors": 0}, "number of results"),
        ({"results": [{}, {"error": {}}], "count": 2, "errors": 1}, "errors for good images"),
        ({}, "number of results"),
    ],
)
def test_a_batch_without_an_answer_to_every_image_is_a_failure(body: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongAnswer, match=message):
        check_batch(body, 2)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]"])
def test_what_is_no_json_object_is_a_failure(body: bytes) -> None:
    with pytest.raises(WrongAnswer, match="no JSON object"):
        read_json(body)
