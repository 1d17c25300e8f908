import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from brainmri.imaging import DecodeLimits, Picture, read_picture
from brainmri.model.contract import NOTICE
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.application import MAX_IMAGE_BYTES, Ask, code_of
from tests.report.tags import Tags
from tests.tiny import write_tiny_bundle

Png = Callable[..., bytes]
Files = list[tuple[str, tuple[str, bytes]]]


def files(png: Png) -> Files:
    """Two slices that the tiny model takes for glioma and pituitary, and a file that is none."""
    contents = {"glioma/red.png": png((255, 0, 0)), "notumor/blue.png": png((0, 0, 255)), "text.png": b"text"}
    return [("images", pair) for pair in contents.items()]


def read(document: str) -> Tags:
    tags = Tags()
    tags.feed(document)
    return tags


def test_several_images_give_a_table_and_a_bad_one_its_reason(ask: Ask, png: Png, registry: CollectorRegistry) -> None:
    response = ask("POST", "/report", files=files(png))
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert response.headers["content-disposition"] == 'attachment; filename="report.html"'
    tags = read(response.text)
    for text in (
        NOTICE,
        "What the model said of 3 images",
        "glioma/red.png",
        "not a readable image",
        "brain_mri_xception",
    ):
        assert text in tags.text
    assert tags.tags.count("img") == 2
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) == 1


def test_labels_add_mistakes_and_figures(ask: Ask, png: Png) -> None:
    tags = read(ask("POST", "/report?labels_from=parent-folder", files=files(png)).text)
    assert "0.5000 (0.0945 to 0.9055)" in tags.text
    assert tags.text.count("notumor/blue.png") == 2


def test_one_image_of_a_model_with_heat_maps_has_both_pictures_also_as_pdf(ask: Ask, png: Png, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "explaining", tmp_path / "scratch", explains=True)
    served = [Predictor.open(bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_IMAGE_BYTES)))]
    one: Files = [("images", ("red.png", png((255, 0, 0))))]
    tags = read(ask("POST", "/report?label=pituitary", served=served, files=one).text)
    assert tags.tags.count("img") == 2
    assert "Where the network looked for Pituitary tumour" in tags.text
    response = ask("POST", "/report?format=pdf", served=served, files=one)
    assert response.headers["content-type"] == "application/pdf"
    done = subprocess.run(["pdftotext", "-", "-"], input=response.content, capture_output=True, check=True)  # noqa: S607
    assert b"Most like a glioma" in done.stdout
    assert b"Where the network looked for Glioma" in done.stdout


def test_each_image_is_decoded_once(ask: Ask, png: Png, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def count(data: bytes, *options: Any) -> Picture:
        decoded.append(data)
        return read_picture(data, *options)

    monkeypatch.setattr("brainmri.model.predictor.read_picture", count)
    sent = files(png)
    tags = read(ask("POST", "/report", files=sent).text)
    assert tags.tags.count("img") == 2
    assert [decoded.count(content) for _, (_, content) in sent] == [1, 1, 1]


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("format=doc", "html, pdf"),
        ("labels_from=name", "parent-folder"),
        ("palette=jet", "cividis, fire, grey"),
        ("frame=-1", "0 to 999999"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_there_is(ask: Ask, png: Png, query: str, limit: str) -> None:
    response = ask("POST", f"/report?{query}", files=files(png))
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert response.json()["error"]["limit"] == limit


def test_one_image_too_many_is_refused_with_the_limit(ask: Ask, png: Png) -> None:
    response = ask("POST", "/report", files=files(png) * 2)
    assert (response.status_code, code_of(response)) == (413, "request_too_large")
    assert response.json()["error"]["limit"] == "5 images"


def test_a_class_cannot_be_explained_without_heat_maps(ask: Ask, png: Png) -> None:
    response = ask("POST", "/report?label=glioma", files=files(png))
    assert (response.status_code, code_of(response)) == (501, "heat_map_unavailable")
