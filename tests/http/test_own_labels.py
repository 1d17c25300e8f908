"""Models with own classes, two and twenty of them, beside one with the released four."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from brainmri.imaging import DecodeLimits
from brainmri.model.contract import LABELS
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.application import MAX_IMAGE_BYTES, Ask
from tests.http.test_score import LIMITS, lines_of
from tests.tiny import write_tiny_bundle

TWO = ("sick", "healthy")
TWENTY = tuple(f"grade_{number}" for number in range(20))
RED, GREEN = (255, 0, 0), (0, 255, 0)

Png = Callable[..., bytes]


def own_model(folder: Path, name: str, labels: tuple[str, ...], **changes: Any) -> Predictor:
    parts = {"schema_version": 4, "name": name, "serving_name": name, "labels": labels, "explains": True, **changes}
    bundle = write_tiny_bundle(folder / name, folder / f"{name}-parts", **parts)
    return Predictor.open(bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_IMAGE_BYTES), policy="no_tumor"))


@pytest.fixture
def served(tmp_path: Path, predictor: Predictor) -> tuple[Predictor, ...]:
    two = own_model(tmp_path, "two", TWO, no_tumor_label="healthy", novelty_threshold=10.0)
    return predictor, two, own_model(tmp_path, "twenty", TWENTY)


@pytest.mark.parametrize(("name", "labels"), [("brain_mri_xception", LABELS), ("two", TWO), ("twenty", TWENTY)])
def test_models_of_different_labels_answer_side_by_side(
    ask: Ask, png: Png, served: tuple[Predictor, ...], name: str, labels: tuple[str, ...]
) -> None:
    files = {"image": ("a.png", png(RED))}
    answer = ask("POST", f"/predict?model={name}", served=served, files=files).json()
    assert list(answer["probabilities"]) == list(labels)
    assert answer["verdict"] in (labels[0], "not_a_brain_mri")
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("name", "labels"), [("two", TWO), ("twenty", TWENTY)])
def test_the_protocols_tell_own_labels(
    ask: Ask, served: tuple[Predictor, ...], name: str, labels: tuple[str, ...]
) -> None:
    grey = np.zeros((1, 299, 299, 3), np.uint8)
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 299, 299, 3], "data": grey.tolist()}]}
    answer = ask(
        "POST", f"/v2/models/{name}/infer", served=served, json=body, settings={"max_request_bytes": 5_000_000}
    ).json()
    shapes = {output["name"]: output["shape"] for output in answer["outputs"]}
    assert shapes["probabilities"] == [1, len(labels)]
    model = ask("GET", f"/model?name={name}", served=served).json()
    assert model["labels"] == list(labels)
    assert model["no_tumor_label"] == ("healthy" if name == "two" else None)


def test_a_label_of_another_model_is_refused_by_name(ask: Ask, png: Png, served: tuple[Predictor, ...]) -> None:
    files = {"image": ("a.png", png(RED))}
    refused = ask("POST", "/explain?model=two&label=glioma", served=served, files=files)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"] == "There is no label 'glioma'. Choose one of sick, healthy."
    assert ask("POST", "/explain?model=twenty&label=grade_19", served=served, files=files).status_code == 200


def test_rows_and_report_have_a_column_for_each_own_label(
    ask: Ask, png: Png, served: tuple[Predictor, ...], registry: CollectorRegistry
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for grade, colour in (("grade_0", RED), ("Grade 1", GREEN)):
            packed.writestr(f"{grade}/a.png", png(colour))
    rows, summary = lines_of(
        ask("POST", "/score?model=twenty", served=served, content=archive.getvalue(), settings=LIMITS)
    )
    assert [column for column in rows[0] if column.startswith("probability_")] == [f"probability_{x}" for x in TWENTY]
    assert summary["labels"] == {"grade_0": 1, "grade_1": 1}
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "grade_1"}) == 1
    # Of six labels, each against the others: more curves than colours.
    files = [("images", (f"grade_{number}/a.png", png(RED))) for number in range(6)]
    for form in ("html", "pdf"):
        query = f"model=twenty&labels_from=parent-folder&format={form}"
        report = ask("POST", f"/report?{query}", served=served, files=files, settings={"max_request_images": 9})
        assert report.status_code == 200, report.text
        if form == "html":
            assert report.text.count(">Grade 19<") >= 1
            assert "Mistakes" in report.text
            assert "the 4 classes with the smallest areas, each against the others" in report.text


def test_an_image_that_is_none_gets_the_label_that_means_no_tumour(
    ask: Ask, png: Png, served: tuple[Predictor, ...], tmp_path: Path
) -> None:
    files = {"image": ("a.png", png(RED))}
    strict = own_model(tmp_path, "strict", TWO, no_tumor_label="healthy", novelty_threshold=0.1)
    without = own_model(tmp_path, "without", TWO, novelty_threshold=0.1)
    models = (*served, strict, without)
    answers = [ask("POST", f"/predict?model={one}", served=models, files=files).json() for one in ("strict", "without")]
    assert [answer["verdict"] for answer in answers] == ["not_a_brain_mri"] * 2
    assert [answer["label"] for answer in answers] == ["healthy", None]
