"""Takes pictures of the page: `python -m docs.scripts.screenshots http://127.0.0.1:3000/`, of a server that runs.

All of them go to `runs/screenshots`: desktop and phone, both colour schemes, before and after an answer. Two small ones
go to `docs/images`, for the README and docs/page.md. They show drawn samples only.
"""

import io
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

ROOT = Path(__file__).parents[2]
ALL = ROOT / "runs" / "screenshots"
KEPT = ROOT / "docs" / "images"
Scheme = Literal["light", "dark"]
SIZES: dict[str, ViewportSize] = {"desktop": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
FOR_DOCS = (("desktop", "light"), ("phone", "dark"))
SETTLED_MS = 1000
"""For the pictures on the page to be drawn."""

_COLOURS = 64
"""Of the pictures in docs/images, which take below 100 kB so."""
_SAMPLE = "Meningioma"


def take(browser: Browser, url: str, size: str, scheme: Scheme) -> None:
    """Opens the page as it comes, then with the answer for one sample, and writes a picture of both."""
    with browser.new_context(viewport=SIZES[size], color_scheme=scheme, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(url)
        sample = page.get_by_role("button", name=_SAMPLE, exact=True)
        sample.wait_for()
        page.wait_for_timeout(SETTLED_MS)
        page.screenshot(path=ALL / f"{size}-{scheme}-start.png")
        sample.click()
        page.wait_for_function("() => document.querySelector('#result').dataset.state === 'done'")
        page.wait_for_timeout(SETTLED_MS)
        shot = page.screenshot(path=ALL / f"{size}-{scheme}-answer.png")
    if (size, scheme) in FOR_DOCS:
        small = Image.open(io.BytesIO(shot)).convert("RGB").quantize(_COLOURS)
        small.save(KEPT / f"page-{size}.png", optimize=True)


def main() -> None:
    """Takes every picture."""
    if len(sys.argv) != 2:
        raise SystemExit("Name the address of a server: python -m docs.scripts.screenshots http://127.0.0.1:3000/")
    for folder in (ALL, KEPT):
        folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for size, scheme in product(SIZES, SCHEMES):
            take(browser, sys.argv[1], size, scheme)
        browser.close()


if __name__ == "__main__":
    main()
