"""Models with own classes, two and twenty of them, beside one with the released four."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from brainmri.model.contract import LABELS
from tests.page.chromium import CHROMIUM, PHONE, accessibility_faults, give, overflows, picture, tab
from tests.page.service import service, tiny
from tests.page.test_browser import saved
from tests.tiny import write_tiny_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

RED, GREEN = (255, 0, 0), (0, 255, 0)
TWO = ("glioma", "healthy_tissue")
TWENTY = tuple(f"grade_{number}" for number in range(20))
CHOICES = {"released": "0", "two": "1", "twenty": "2"}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with three models; the first has the released classes."""
    folder = tmp_path_factory.mktemp("three")
    bundles = [tiny(folder)]
    for name, labels in (("two", TWO), ("twenty", TWENTY)):
        parts: dict[str, Any] = {"schema_version": 4, "name": name, "serving_name": name, "labels": labels}
        write_tiny_bundle(folder / name, folder / f"{name}-parts", **parts)
        bundles.append(folder / name)
    with service(folder, bundles=bundles) as address:
        yield address


@pytest.fixture
def page(browser: Browser, three: str) -> Iterator[Page]:
    with tab(browser, three) as opened:
        yield opened


def heads(page: Page) -> list[str]:
    return page.locator("#many thead .number").all_inner_texts()


def test_the_table_has_the_classes_of_the_model_that_answers(page: Page) -> None:
    choice = page.get_by_label("Model", exact=True)
    choice.select_option(CHOICES["two"])
    give(page, picture(RED, "a.png"), picture(GREEN, "b.png"))
    expect(page.locator("#many tbody .share[data-most]")).to_have_count(2)
    # A model of other classes may mean something else by `glioma`: nothing is added to the name.
    assert page.locator("#result h2").inner_text().startswith("Most like Glioma; ")
    assert page.locator("#result .bar-name").all_inner_texts() == ["Glioma", "Healthy tissue"]
    assert heads(page) == ["Glioma", "Healthy tissue"]
    page.get_by_label("Verdict", exact=True).select_option("Healthy tissue")
    expect(page.locator("#many tbody tr")).to_have_count(1)
    choice.select_option(CHOICES["twenty"])
    expect(page.locator("#many thead .number")).to_have_text(["Likeliest"])
    expect(page.locator("#many tbody .share[data-most]")).to_have_count(2)
    expect(page.get_by_label("Verdict", exact=True)).to_have_value("")
    assert page.locator("#many tbody .share").first.inner_text().startswith("Grade 0 ")
    page.get_by_role("button", name="Likeliest").click()
    expect(page.get_by_role("columnheader", name="Likeliest")).to_have_attribute("aria-sort", "descending")
    choice.select_option(CHOICES["released"])
    expect(page.locator("#many thead .number")).to_have_text(["Glioma", "Meningioma", "No tumour", "Pituitary tumour"])


def test_models_of_different_classes_stand_side_by_side(page: Page) -> None:
    page.get_by_label("Model", exact=True).select_option("all")
    give(page, picture(RED, "a.png"), picture(GREEN, "b.png"))
    side_by_side = page.get_by_role("region", name="Models side by side")
    expect(side_by_side.get_by_role("row")).to_have_count(4)
    assert side_by_side.get_by_role("columnheader").all_inner_texts() == ["Model", "Answer", "Likeliest"]
    expect(page.locator("#many tbody .share[data-most]")).to_have_count(2)
    assert (accessibility_faults(page), overflows(page)) == ([], False)
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    assert len(rows) == 6
    # Each row has the probabilities of its model and no others.
    for row, labels in zip(rows, (LABELS, TWO, TWENTY) * 2, strict=True):
        shares = {name.removeprefix("probability_") for name, share in row.items() if "probability_" in name and share}
        assert shares == set(labels)
    assert "twenty 0.0.1: Grade 0 (Grade 0 " in saved(page, "Report")


def test_twenty_classes_fit_a_phone(browser: Browser, three: str) -> None:
    with tab(browser, three, PHONE) as page:
        page.get_by_label("Model", exact=True).select_option(CHOICES["twenty"])
        give(page, picture(RED, "a.png"), picture(GREEN, "b.png"))
        expect(page.locator("#many tbody .share[data-most]")).to_have_count(2)
        expect(page.locator("#result .bar")).to_have_count(20)
        assert (accessibility_faults(page), overflows(page)) == ([], False)
