"""PDF reports as readers see them: text by `pdftotext`, pages by `pdftoppm`, both of Debian's poppler-utils."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import ImageUnreadable
from brainmri.model.contract import NOTICE
from brainmri.report.document import Entry
from brainmri.report.pdf import pdf
from tests.report.reports import entry, many, png, prediction, report

pytestmark = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext, of poppler-utils")


def texts(document: bytes) -> list[str]:
    """Returns the text of each page, with single spaces."""
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=document, capture_output=True, check=True)  # noqa: S607
    return [" ".join(page.split()) for page in done.stdout.decode().split("\f")[:-1]]


def pages(document: bytes, folder: Path) -> list[NDArray[np.uint8]]:
    """Returns the greys of each page at 40 dots an inch."""
    subprocess.run(["pdftoppm", "-r", "40", "-gray", "-", folder / "page"], input=document, check=True)  # noqa: S607
    return [np.asarray(Image.open(file)) for file in sorted(folder.iterdir())]


def test_one_image_fits_on_one_page_and_its_text_can_be_found(tmp_path: Path) -> None:
    one = Entry("scan é.png", prediction("glioma"), png(120, 300), png(60, 299), "meningioma")
    document = pdf(report([one]))
    (text,) = texts(document)
    for part in (NOTICE, "scan é.png", "Most like a glioma; 94 % sure.", "94.0 %", "class Meningioma", "page 1"):
        assert part in text
    (page,) = pages(document, tmp_path)
    # Both pictures are there, in their greys.
    assert (np.abs(page.astype(int) - 120) <= 1).mean() > 0.05
    assert (np.abs(page.astype(int) - 60) <= 1).mean() > 0.05


def test_every_page_of_many_images_has_content_the_notice_and_its_number(tmp_path: Path) -> None:
    document = pdf(many(60))
    found = texts(document)
    assert len(found) >= 5
    for number, text in enumerate(found, start=1):
        assert text.endswith(f"{NOTICE} page {number}")
        assert len(text) > len(NOTICE) + 60
    whole = " ".join(found)
    for part in (
        "Totals",
        "Mistakes",
        "most probable class",
        "area",
        "share of wrong answers",
        "The image is truncated",
    ):
        assert part in whole
    # The table's head comes again on each of its pages.
    assert sum("File Verdict" in text for text in found) >= 4
    drawn = pages(document, tmp_path)
    assert len(drawn) == len(found)
    for page in drawn:
        # Ink, and within the margins.
        assert (page < 200).mean() > 0.004
        assert page[:, :20].min() == page[:, -20:].min() == 255


def test_letters_that_the_fonts_lack_are_written_as_numbers_and_markup_as_text() -> None:
    (text,) = texts(pdf(report([entry("<b>脳.png", "glioma")])))
    assert r"<b>\u8133.png" in text


def test_a_name_without_spaces_does_not_leave_its_column() -> None:
    named = entry("x" * 300 + ".png", "glioma")
    (text,) = texts(pdf(report([named, Entry("b.png", ImageUnreadable("Damaged."), None)])))
    assert text.count("x") >= 300
    assert "94.0 %" in text


@pytest.mark.parametrize("name", ["x" * 60_000, "漢" * 2_000, "a b " * 3_000])
def test_a_name_longer_than_a_page_is_shortened_in_its_middle(name: str) -> None:
    end = f"{name[:-9]}end.png"
    document = pdf(report([Entry(end, prediction("glioma"), png(120, 96)) for _ in range(3)]))
    text = " ".join(texts(document))
    assert text.count(" ... ") == 3
    assert text.count("end.png") == 3
