"""What the page gets from the server besides answers: pictures of files that no browser draws, frames, PDF reports."""

import io
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from brainmri.model.contract import LABELS
from brainmri.report.words import exact, in_words, percent
from tests.page.chromium import CHROMIUM, accessibility_faults, give, picture, tab
from tests.page.service import service
from tests.report.reports import prediction

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

LEFT = "document.querySelector('.view').getContext('2d').getImageData(40, 200, 1, 1).data[0]"
"""Grey of the viewer's left part."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service(tmp_path_factory.mktemp("page"), max_request_images=4) as served:
        yield served


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with tab(browser, address) as opened:
        yield opened


def tiff_of_pages() -> dict[str, Any]:
    """Two pages of 12 bits, the first bright on the left, the second on the right."""
    pages = [np.zeros((64, 64), np.uint16) for _ in range(2)]
    pages[0][:, :32] = pages[1][:, 32:] = 4095
    first, second = (Image.fromarray(greys) for greys in pages)
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=[second])
    return {"name": "stack.tif", "mimeType": "image/tiff", "buffer": file.getvalue()}


def test_a_file_that_no_browser_draws_is_shown_with_its_frames(page: Page) -> None:
    give(page, tiff_of_pages())
    slider = page.get_by_role("slider", name="Frame")
    expect(slider).to_be_visible()
    expect(page.locator(".frames output")).to_have_text("1 of 2")
    page.wait_for_function(f"() => {LEFT} > 200")
    assert accessibility_faults(page) == []
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => {LEFT} < 50")
    expect(page.locator(".frames output")).to_have_text("2 of 2")
    page.get_by_text("Details").click()
    expect(page.locator(".details")).to_contain_text("frame 2 of 2, black is 0, white 4095")


def test_one_image_is_reported_as_pdf(page: Page) -> None:
    give(page, picture((200, 20, 20)))
    with page.expect_download() as download:
        page.get_by_role("button", name="Report as PDF").click()
    assert download.value.suggested_filename == "report.pdf"
    assert download.value.path().read_bytes().startswith(b"%PDF")


def text_of(pdf: Path) -> str:
    done = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, check=True)  # noqa: S607
    return done.stdout.decode()


def test_many_images_are_reported_as_one_pdf_and_their_names_only_with_leave(page: Page) -> None:
    give(page, picture((200, 20, 20), "Jane Doe.png"), picture((20, 200, 20), "second.png"))
    told = page.locator("#many .told")
    for named in (False, True):
        page.get_by_label("Name the files in the PDF").set_checked(named)
        with page.expect_download() as download:
            page.get_by_role("button", name="PDF", exact=True).click()
        expect(told).to_have_text("The report is saved.")
        text = text_of(download.value.path())
        for expected in ("What the model said of", "Glioma", "Meningioma", "91.6 %"):
            assert expected in text
        assert ("Jane Doe.png" in text, "image 1" in text) == (named, not named)
    assert accessibility_faults(page) == []


def test_more_images_than_a_report_of_the_server_takes_are_told_without_sending_them(page: Page) -> None:
    give(page, *(picture((200, 20, 20), f"{number}.png") for number in range(5)))
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/report" in request.url else None)
    page.get_by_role("button", name="PDF", exact=True).click()
    expect(page.locator("#many .told")).to_have_text(
        "No report: the server writes one of at most 4 images. Select fewer, or save the report as HTML."
    )
    assert sent == []


def test_page_and_report_say_the_same_in_words(page: Page) -> None:
    answers = [prediction(label, share) for label in LABELS for share in (0.97, 0.9999, 0.55)]
    answers += [prediction("glioma", 0.4, "unsure"), prediction("notumor", 0.3, "unsure")]
    foreign = prediction("glioma", 0.9, "not_a_brain_mri")
    answers += [foreign, replace(foreign, label=None)]
    for answer in answers:
        body = {
            "verdict": answer.verdict,
            "label": answer.label,
            "confidence": answer.confidence,
            "probabilities": dict(answer.probabilities),
        }
        words = in_words(answer)
        said = page.evaluate("async (body) => (await import('/page/words.js')).inWords(body)", body)
        assert said == {"tone": words.tone, "sentence": words.sentence, "more": words.more}
    shares = [0, 0.001, 0.005, 0.125, 0.5, 0.9812, 0.996, 1]
    theirs = page.evaluate(
        "async (shares) => { const words = await import('/page/words.js');"
        " return shares.map((share) => [words.percent(share), words.exact(share)]); }",
        shares,
    )
    assert theirs == [[percent(share), exact(share)] for share in shares]
