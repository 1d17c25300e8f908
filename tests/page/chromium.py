"""A real browser: Debian's Chromium, driven by Playwright, and what a person sees in it."""

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Without these it looks for hosts of Google's at every start.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 120_000  # a machine that trains beside the tests needs it
DESKTOP: ViewportSize = {"width": 1366, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
NARROWEST: ViewportSize = {"width": 320, "height": 640}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Runs the browser."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def tab(browser: Browser, url: str, size: ViewportSize = DESKTOP, **options: Any) -> Iterator[Page]:
    """Opens the page in a fresh profile; afterwards there must have been no script error and no blocked content."""
    with browser.new_context(viewport=size, accept_downloads=True, **options) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda message: problems.append(message.text) if "Content Security" in message.text else None
        )
        page.goto(url)
        page.wait_for_function("() => performance.getEntriesByName('interactive').length === 1")
        yield page
        assert problems == []


def picture(colour: tuple[int, int, int], name: str = "slice.png") -> dict[str, Any]:
    """Returns a square of one colour for a file chooser; what the tiny model says of it can be computed by hand."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": file.getvalue()}


def give(page: Page, *files: dict[str, Any]) -> None:
    """Chooses files and waits until every one has an answer or an error."""
    page.set_input_files("#file", list(files))  # type: ignore[arg-type]
    wait_for_answers(page)


def wait_for_answers(page: Page, timeout_s: float = 240) -> None:
    page.wait_for_function(
        "() => ['done', 'failed'].includes(document.querySelector('#result').dataset.state)"
        " && !document.querySelector('#many tr[data-state=waiting], #many tr[data-state=sending]')"
        " && (document.querySelector('#many').hidden || document.querySelector('#many progress').hidden)",
        timeout=timeout_s * 1000,
    )


def accessibility_faults(page: Page) -> list[str]:
    """Returns what axe-core finds wrong, WCAG 2.2 AA and best practice, one line each."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return [
        f"{rule['id']}: {json.dumps([node['html'][:160] for node in rule['nodes'][:3]])}"
        for rule in found.response["violations"]
    ]


def overflows(page: Page) -> bool:
    """Tells whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
