"""What the page says of models: their figures, several side by side, and where each one looked."""

import base64
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from brainmri.model.bundle import load_bundle
from tests.evaluation import write_evaluation
from tests.page.chromium import CHROMIUM, PHONE, accessibility_faults, give, overflows, picture, tab
from tests.page.service import service, tiny
from tests.page.test_browser import saved

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

RELEASED = Path(__file__).parents[2] / "models" / "brain_mri_xception"
SAMPLES = Path(__file__).parents[2] / "brainmri" / "page" / "site" / "page" / "samples"
GLIOMA = (200, 20, 20)
FIRST, SECOND = "brain_mri_xception 0.0.1", "brain_mri_xception 0.0.2"
COLOURED = """([left, across]) => {
    const view = document.querySelector('.view');
    return [...view.getContext('2d').getImageData(view.width * left, view.height * across, 1, 1).data].slice(0, 3);
}"""
"""Red, green and blue of the viewer at a place, in shares of its side."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with two models; the second, which explains, is sure from 0.95 only."""
    folder = tmp_path_factory.mktemp("two")
    first = tiny(folder / "first")
    second = tiny(folder / "second", version="0.0.2", min_confidence=0.95, explains=True)
    write_evaluation(second)
    with service(folder, bundles=[first, second]) as address:
        yield address


@pytest.fixture
def page(browser: Browser, two: str) -> Iterator[Page]:
    with tab(browser, two) as opened:
        yield opened


def halves() -> dict[str, Any]:
    """Returns a slice whose left half speaks for glioma, and its right half for meningioma, a little less."""
    image = Image.new("RGB", (64, 64), (200, 0, 20))
    image.paste((0, 180, 20), (32, 0, 64, 64))
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"name": "halves.png", "mimeType": "image/png", "buffer": file.getvalue()}


def test_one_of_two_models_is_chosen_and_answers_anew(page: Page) -> None:
    give(page, picture(GLIOMA))
    expect(page.locator("#result h2")).to_have_text("Most like a glioma; 92 % sure.")
    page.get_by_label("Model", exact=True).select_option(SECOND)
    expect(page.locator("#result h2")).to_have_text("Not sure: glioma 92 %, no tumour 3 %.")
    page.get_by_text("Details").click()
    expect(page.locator("#result dl")).to_contain_text(SECOND)


def test_two_models_stand_side_by_side(page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option("Compare all 2")
    give(page, picture(GLIOMA, "a.png"), picture(GLIOMA, "b.png"))
    rows = page.get_by_role("region", name="Models side by side").get_by_role("row")
    expect(rows).to_have_count(3)
    assert rows.nth(1).inner_text().split("\t")[:3] == [FIRST, "Glioma", "91.6 %"]
    assert rows.nth(2).inner_text().split("\t")[:3] == [SECOND, "Unsure", "91.6 %"]
    assert (accessibility_faults(page), overflows(page)) == ([], False)
    written = csv.DictReader(io.StringIO(saved(page, "CSV")))
    assert [(row["path"], row["model"], row["verdict"]) for row in written] == [
        ("a.png", "brain_mri_xception:0.0.1", "glioma"),
        ("a.png", "brain_mri_xception:0.0.2", "unsure"),
        ("b.png", "brain_mri_xception:0.0.1", "glioma"),
        ("b.png", "brain_mri_xception:0.0.2", "unsure"),
    ]


def test_the_heat_map_shows_where_the_evidence_for_each_class_lies(page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option(SECOND)
    give(page, halves())
    page.get_by_role("switch", name="Show where the network looked").check()
    page.get_by_label("Opacity").fill("100")
    assert accessibility_faults(page) == []
    for label, bright, plain in (("glioma", 0.2, 0.8), ("meningioma", 0.8, 0.2)):
        page.locator("#heat-label").select_option(label)
        # The brightest evidence is yellow, and no evidence leaves the slice as it is.
        page.wait_for_function(f"() => ({COLOURED})([{bright}, 0.5])[1] > 220")
        assert max(page.evaluate(COLOURED, [plain, 0.5])) in (180, 200)
    page.get_by_role("switch", name="Show where the network looked").uncheck()
    page.wait_for_timeout(200)
    assert page.evaluate(COLOURED, [0.8, 0.5]) == [0, 180, 20]


def test_a_report_shows_where_the_network_looked(page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option(SECOND)
    give(page, halves())
    report = saved(page, "Save a report")
    plain, heat = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', report)
    colours = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))), int) for one in (plain, heat)]
    changed = np.abs(colours[1] - colours[0]).mean(axis=2)
    middle = changed.shape[1] // 2
    # The left half is what the tiny network takes for a glioma.
    assert changed[:, :middle].mean() > 4 * changed[:, middle:].mean()
    assert "Bright parts weighed most for glioma. This does not outline a tumour." in report


def test_a_report_of_a_model_without_heat_maps_has_none(page: Page) -> None:
    give(page, halves())
    report = saved(page, "Save a report")
    assert (report.count("<img"), "heat map" in report.lower()) == (1, False)


def test_a_model_without_heat_maps_says_so(page: Page) -> None:
    give(page, halves())
    page.get_by_role("switch", name="Show where the network looked").check()
    expect(page.locator(".heat-state")).to_have_text("This model has no heat map.")


def test_the_released_model_shows_where_it_looked_if_it_explains(browser: Browser, tmp_path: Path) -> None:
    explains = load_bundle(RELEASED).contract.explanation is not None
    with service(tmp_path, bundles=[RELEASED]) as address, tab(browser, address) as page:
        page.get_by_role("button", name="Glioma", exact=True).click()
        page.get_by_role("switch", name="Show where the network looked").wait_for()
        before = page.locator(".view").screenshot()
        page.get_by_role("switch", name="Show where the network looked").check()
        expect(page.locator(".heat-state")).to_have_text("" if explains else "This model has no heat map.")
        page.wait_for_timeout(300)
        assert (page.locator(".view").screenshot() != before) == explains


@pytest.mark.parametrize("size", [None, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_model_page_shows_the_figures_of_the_evaluation(browser: Browser, two: str, size: Any, scheme: Any) -> None:
    with tab(browser, f"{two}#model", color_scheme=scheme, **({} if size is None else {"size": size})) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("The models")
        figures = page.get_by_role("region", name="Figures of the evaluation").get_by_role("row")
        # The first model has no figures that this page knows.
        expect(figures).to_have_count(9)
        assert [list(map(str.strip, figures.nth(n).inner_text().split("\t"))) for n in (1, 4, 7, 8)] == [
            ["Macro-F1", "", "86.1 %", "79.0 % to 91.0 %", "200"],
            ["Meningioma, recognised", "", "60.0 %", "50.0 % to 70.0 %", "50"],
            ["Tumours of another source, found", "", "75.0 %", "64.0 % to 84.0 %", "80"],
            ["Slices without a tumour, one of each group, called so", "", "95.0 %", "84.0 % to 99.0 %", "40"],
        ]
        first = page.locator(".strip").first
        assert first.evaluate("strip => strip.getBoundingClientRect().right < innerWidth")
        ends = [float(first.locator(".interval").get_attribute(name) or "") for name in ("x1", "x2")]
        assert ends == pytest.approx([4 + 152 * 0.79, 4 + 152 * 0.91])
        counts = page.get_by_role("region", name="Confusion matrix").get_by_role("row").nth(2)
        assert counts.inner_text().split() == ["Meningioma", "10", "30", "5", "5"]
        expect(page.get_by_role("img", name="Reliability")).to_be_visible()
        page.get_by_text("These points as a table").click()
        points = page.get_by_role("region", name="Reliability").get_by_role("row")
        assert points.nth(15).inner_text().split("\t") == ["90.0 %", "100.0 %", "10"]
        assert (accessibility_faults(page), overflows(page)) == ([], False)
