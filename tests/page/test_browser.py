"""What a person does on the page and sees there, in a real browser against a real server."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from brainmri.bulk.rows import COLUMNS
from brainmri.web.auth import edit_keys, new_key
from tests.e2e.servers import free_port
from tests.page.chromium import (
    CHROMIUM,
    NARROWEST,
    PHONE,
    accessibility_faults,
    give,
    overflows,
    picture,
    tab,
)
from tests.page.chromium import wait_for_answers as wait
from tests.page.service import service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

GLIOMA, MENINGIOMA, PITUITARY = (200, 20, 20), (20, 200, 20), (20, 20, 200)
UNSURE, FOREIGN = (110, 110, 20), (250, 250, 250)
FIRST = "(name) => performance.getEntriesByName(name)[0].startTime"
TEXT: dict[str, Any] = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service."""
    with service(tmp_path_factory.mktemp("page")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    with tab(browser, server) as opened:
        yield opened


@pytest.mark.parametrize(
    ("colour", "sentence"),
    [
        (GLIOMA, "Most like a glioma; 92 % sure."),
        (MENINGIOMA, "Most like a meningioma; 92 % sure."),
        (PITUITARY, "Most like a pituitary tumour; 92 % sure."),
        (UNSURE, "Not sure: glioma 42 %, meningioma 42 %."),
        (FOREIGN, "This does not look like a brain MRI, so no class is given."),
    ],
)
def test_the_answer_is_one_plain_sentence(page: Page, colour: tuple[int, int, int], sentence: str) -> None:
    give(page, picture(colour))
    expect(page.locator("#result h2")).to_have_text(sentence)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({"verdict": "meningioma", "confidence": 0.98}, "Most like a meningioma; 98 % sure."),
        ({"verdict": "notumor", "confidence": 0.9999}, "Most like a slice without a tumour; more than 99 % sure."),
        ({"verdict": "unsure", "label": "glioma"}, "Not sure: glioma 52 %, meningioma 41 %."),
        ({"verdict": "not_a_brain_mri"}, "This does not look like a brain MRI, so no class is given."),
        ({"verdict": "not_a_brain_mri", "label": "notumor"}, "This does not look like a brain MRI."),
    ],
)
def test_every_pair_of_label_and_verdict_is_put_into_words(page: Page, answer: dict[str, Any], sentence: str) -> None:
    shares = {"glioma": 0.52, "meningioma": 0.41, "notumor": 0.04, "pituitary": 0.03}
    whole = {"label": None, "confidence": 0.52, "probabilities": shares, **answer}
    words = page.evaluate("async (answer) => (await import('./page/words.js')).inWords(answer)", whole)
    assert words["sentence"] == sentence


def test_the_bars_and_details_tell_the_numbers(page: Page) -> None:
    give(page, picture(GLIOMA, "left.png"))
    bars = page.get_by_role("list", name="Probability of each class").get_by_role("listitem")
    assert bars.all_inner_texts() == [
        "Glioma\n91.6 %",
        "Meningioma\n2.7 %",
        "No tumour\n3.0 %",
        "Pituitary tumour\n2.7 %",
    ]
    page.get_by_text("Details").click()
    details = page.locator("#result dl").inner_text()
    assert "brain_mri_xception 0.0.1, openvino-f32" in details
    assert "8.85" in details


def test_the_picture_is_shown_inverted_zoomed_and_reset_by_keys(page: Page) -> None:
    give(page, picture(GLIOMA))
    view = page.get_by_role("application", name="Slice slice.png")
    assert middle(page) == [200, 20, 20]
    view.focus()
    page.keyboard.press("i")
    page.wait_for_timeout(100)
    assert middle(page) == [55, 235, 235]
    page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowLeft")
    shown = json.loads(view.get_attribute("data-view") or "")
    assert (shown["zoom"], shown["invert"], round(shown["x"], 3)) == (1.25, True, 0.06)
    assert shown["window"] == pytest.approx(255 * 2 ** (8 / 50))
    page.keyboard.press("0")
    page.wait_for_timeout(100)
    assert middle(page) == [200, 20, 20]
    assert json.loads(view.get_attribute("data-view") or "")["zoom"] == 1


def test_dragging_moves_the_picture_or_changes_its_contrast(page: Page) -> None:
    give(page, picture(GLIOMA))
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    drag(page, 40, 0)
    before = json.loads(page.locator(".view").get_attribute("data-view") or "")
    assert before["x"] > 0.05
    page.get_by_role("button", name="Drag for contrast").click()
    drag(page, 0, 20)
    after = json.loads(page.locator(".view").get_attribute("data-view") or "")
    assert after["x"] == before["x"]
    assert after["level"] == pytest.approx(before["level"] + 20, abs=1)


def drag(page: Page, across: int, down: int) -> None:
    box = page.locator(".view").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + across, y + down, steps=4)
    page.mouse.up()


def middle(page: Page) -> list[int]:
    """Returns red, green and blue in the middle of the picture as it is shown."""
    script = "view => [...view.getContext('2d').getImageData(view.width / 2, view.height / 2, 1, 1).data].slice(0, 3)"
    found: list[int] = page.locator(".view").evaluate(script)
    return found


def test_a_file_that_is_no_image_gets_the_servers_reason(page: Page) -> None:
    give(page, TEXT)
    expect(page.locator("#result h2")).to_have_text("This file cannot be read as an image.")
    expect(page.locator("#result .more")).to_contain_text("Send one of JPEG, PNG")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (300_001, "It has 300001 bytes; an image may have at most 300000 bytes. Send a smaller file."),
        (400_000, "It has 391 KiB; an image may have at most 293 KiB. Send a smaller file."),
    ],
)
def test_an_image_above_the_limit_is_not_sent(page: Page, size: int, message: str) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/predict") else None)
    # The page asks for the limit when it has looked whether the server is ready.
    expect(page.locator("#formats")).to_contain_text("up to 293 KiB each")
    give(page, {"name": "big.png", "mimeType": "image/png", "buffer": bytes(size)})
    expect(page.locator("#result h2")).to_have_text("This image is too large.")
    expect(page.locator("#result .more")).to_have_text(message)
    assert sent == []


def test_the_name_of_a_file_does_not_leave_the_browser(page: Page) -> None:
    script = """async () => {
        const { upload } = await import("./page/api.js");
        return [...upload(new File(["x"], "Jane Doe 1970.png")).body].map(([field, file]) => [field, file.name]);
    }"""
    assert page.evaluate(script) == [["image", "image"]]


def test_pasting_and_dropping_are_ways_in(page: Page) -> None:
    for kind in ("paste", "drop"):
        page.evaluate(
            """async (kind) => {
                const canvas = new OffscreenCanvas(64, 64);
                canvas.getContext("2d").fillStyle = "rgb(20 200 20)";
                canvas.getContext("2d").fillRect(0, 0, 64, 64);
                const data = new DataTransfer();
                data.items.add(new File([await canvas.convertToBlob()], `${kind}ed.png`, { type: "image/png" }));
                const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
                    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
                document.body.dispatchEvent(event);
            }""",
            kind,
        )
        expect(page.locator("#result .file-name")).to_have_text(f"{kind}ed.png")
        wait(page)
        expect(page.locator("#result h2")).to_have_text("Most like a meningioma; 92 % sure.")


def many(page: Page) -> None:
    colours = {"a": GLIOMA, "b": MENINGIOMA, "c": UNSURE, "d": FOREIGN, "e": GLIOMA}
    give(page, *(picture(colour, f"{name}.png") for name, colour in colours.items()), TEXT)


def names(page: Page) -> list[str]:
    return page.locator("#many tbody tr th").all_inner_texts()


def test_the_table_is_there_from_the_moment_that_images_come(page: Page) -> None:
    page.route("**/predict", lambda _: None)
    shown = page.evaluate(
        """() => {
            const data = new DataTransfer();
            for (const name of ["a.png", "b.png"]) data.items.add(new File(["x"], name, { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
            return [...document.querySelectorAll("#many tbody tr")].map((row) => row.dataset.state);
        }"""
    )
    assert shown == ["sending", "sending"]
    expect(page.locator("#many .count")).to_have_text("0 of 2 images")


def test_many_images_are_sorted_and_filtered(page: Page) -> None:
    many(page)
    assert names(page) == ["a.png", "b.png", "c.png", "d.png", "e.png", "notes.txt"]
    expect(page.locator("#many .totals")).to_contain_text("Glioma: 2")
    page.locator("#many").get_by_role("button", name="Meningioma").click()
    assert names(page)[0] == "b.png"
    expect(page.get_by_role("columnheader", name="Meningioma")).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Verdict").select_option("Not a brain MRI")
    expect(page.locator("#many tbody th")).to_have_text(["d.png"])
    page.get_by_label("Verdict").select_option("All")
    page.get_by_label("File name").fill("NOTES")
    expect(page.locator("#many tbody th")).to_have_text(["notes.txt"])
    page.locator("#many tbody tr button").click()
    expect(page.locator("#result .file-name")).to_have_text("notes.txt")


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(download.value.path()).read_text()


def test_answers_are_saved_as_csv_with_the_columns_of_score(page: Page) -> None:
    many(page)
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["path"], row["status"], row["verdict"], row["error_code"]) for row in rows] == [
        ("a.png", "ok", "glioma", ""),
        ("b.png", "ok", "meningioma", ""),
        ("c.png", "ok", "unsure", ""),
        ("d.png", "ok", "not_a_brain_mri", ""),
        ("e.png", "ok", "glioma", ""),
        ("notes.txt", "failed", "", "image_unreadable"),
    ]
    assert float(rows[0]["probability_glioma"]) == pytest.approx(0.916, abs=0.001)
    assert rows[0]["model"] == "brain_mri_xception:0.0.1"
    assert len(rows[0]["sha256"]) == 64


def test_an_image_that_still_waits_is_saved_as_unanswered(page: Page) -> None:
    held: list[Route] = []
    # Playwright marks its handlers, which the method itself does not allow.
    page.route("**/predict", lambda route: held.append(route))  # noqa: PLW0108
    page.set_input_files("#file", [picture(GLIOMA, "a.png"), picture(GLIOMA, "b.png")])  # type: ignore[arg-type]
    expect(page.locator("#many .chosen")).to_have_text("Save all 2 images shown, 2 without an answer yet")
    while len(held) < 2:
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(page.locator("#many .chosen")).to_have_text("Save all 2 images shown, 1 without an answer yet")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV"))))
    # Either image may have been sent first.
    assert sorted((row["status"], row["error_code"]) for row in rows) == [("ok", ""), ("unanswered", "unanswered")]
    held[1].continue_()
    wait(page)
    expect(page.locator("#many .chosen")).to_have_text("Save all 2 images shown")


def test_selected_answers_are_saved_as_json(page: Page) -> None:
    many(page)
    page.get_by_label("Select b.png").check()
    page.get_by_label("Select notes.txt").check()
    results = json.loads(saved(page, "JSON"))["results"]
    assert [result["file"] for result in results] == ["b.png", "notes.txt"]
    assert results[0]["verdict"] == "meningioma"
    assert results[1]["error"]["code"] == "image_unreadable"


def test_a_report_holds_pictures_and_verdicts_and_needs_nothing_else(page: Page) -> None:
    many(page)
    report = saved(page, "Report")
    assert report.count('<img src="data:image/jpeg;base64,') == 5
    assert re.findall(r"<h2>(.*?)</h2>", report) == [
        "Most like a glioma; 92 % sure.",
        "Most like a meningioma; 92 % sure.",
        "Not sure: glioma 42 %, meningioma 42 %.",
        "This does not look like a brain MRI, so no class is given.",
        "Most like a glioma; 92 % sure.",
        "This file cannot be read as an image.",
    ]
    assert "Research use only." in report
    assert "Model: brain_mri_xception 0.0.1, openvino-f32." in report
    assert re.findall(r"<script|<link|src=\"(?!data:)", report) == []


def test_images_are_removed(page: Page) -> None:
    many(page)
    page.get_by_label("Select all shown images").check()
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("#result")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_have_text("What does the model see in this slice?")


def test_what_was_stopped_is_told_and_can_be_tried_again(page: Page) -> None:
    page.route("**/predict", lambda _: None)
    page.set_input_files("#file", [picture(GLIOMA), picture(GLIOMA)])  # type: ignore[arg-type]
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#result h2")).to_have_text("Cancelled.")
    page.unroute("**/predict")
    page.get_by_role("button", name="Try the failed ones again").click()
    wait(page)
    expect(page.locator("#many .totals")).to_have_text("Glioma: 2")


def test_a_single_image_can_be_stopped_too(page: Page) -> None:
    refuse(page, 503, "not_ready", {"Retry-After": "60"}, 9)
    page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
    expect(page.locator("#result")).to_contain_text("Waiting for the server; it goes on by itself.")
    page.locator("#result").get_by_role("button", name="Stop").click()
    expect(page.locator("#result h2")).to_have_text("Cancelled.")
    expect(page.locator("#server-state")).to_have_text("")


def test_the_model_page_shows_facts_and_the_card(page: Page) -> None:
    page.get_by_role("link", name="Model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The model")
    expect(page.locator("#model")).to_contain_text("The answer is “unsure” below 80.0 %")
    expect(page.locator("#model")).to_contain_text("farther than 9.00 from the training slices")
    page.get_by_role("link", name="Classify").click()
    expect(page.locator("#drop")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [None, PHONE, NARROWEST], ids=["desktop", "phone", "narrowest"])
def test_axe_finds_nothing_and_nothing_is_cut_off(browser: Browser, server: str, size: Any, scheme: str) -> None:
    chosen = {} if size is None else {"size": size}
    with tab(browser, server, color_scheme=scheme, **chosen) as page:

        def check(state: str) -> None:
            assert (state, accessibility_faults(page), overflows(page)) == (state, [], False)

        check("empty")
        for state, file in {
            "sure": picture(GLIOMA),
            "unsure": picture(UNSURE),
            "foreign": picture(FOREIGN),
            "error": TEXT,
        }.items():
            give(page, file)
            check(state)
        page.locator("#result").get_by_text("Details").or_(page.locator("#result h2")).first.click()
        check("many")
        page.get_by_role("link", name="Model").click()
        page.wait_for_selector("#model dl")
        check("model")


def test_the_narrowest_window_at_four_times_the_text_cuts_nothing_off(browser: Browser, server: str) -> None:
    with tab(browser, server, {"width": 320, "height": 256}) as page:
        give(page, picture(GLIOMA))
        assert overflows(page) is False
        assert page.locator("footer").evaluate("footer => getComputedStyle(footer).position") == "static"


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    give(page, picture(GLIOMA))
    reached = []
    page.locator("body").press("Tab")
    for _ in range(24):
        reached.append(
            page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel || ''").strip()
        )
        page.keyboard.press("Tab")
    assert {"Skip to the content", "Model", "Choose images", "Slice slice.png", "Invert", "Reset", "Details"} <= set(
        reached
    )


def refuse(page: Page, status: int, code: str, headers: dict[str, str], times: int) -> list[float]:
    """Has the next requests refused, and returns when any came, by the monotonic clock in seconds."""
    asked: list[float] = []

    def answer(route: Route) -> None:
        asked.append(time.monotonic())
        if len(asked) > times:
            route.fallback()
            return
        error = {"code": code, "message": "Try later.", "limit": None, "request_id": "r"}
        route.fulfill(status=status, json={"error": error}, headers=headers)

    page.route("**/predict", answer)
    return asked


def test_an_overloaded_server_is_asked_again_after_its_retry_after(page: Page) -> None:
    asked = refuse(page, 429, "overloaded", {"Retry-After": "2"}, 1)
    page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
    expect(page.locator("#server-state")).to_contain_text("The server has more to do than it can take. Nothing is lost")
    assert accessibility_faults(page) == []
    wait(page)
    expect(page.locator("#result h2")).to_have_text("Most like a glioma; 92 % sure.")
    expect(page.locator("#server-state")).to_have_text("")
    assert 1.9 < asked[1] - asked[0] < 6


def test_a_server_that_warms_up_is_waited_for(page: Page) -> None:
    asked = refuse(page, 503, "not_ready", {"Retry-After": "1"}, 2)
    page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
    expect(page.locator("#server-state")).to_contain_text("The model is warming up, or the server is being replaced.")
    wait(page)
    expect(page.locator("#result h2")).to_have_text("Most like a glioma; 92 % sure.")
    assert len(asked) == 3


def test_an_image_that_the_server_is_slow_for_is_asked_again_until_it_has_an_answer(page: Page) -> None:
    asked = refuse(page, 504, "deadline_exceeded", {"Retry-After": "1"}, 4)
    page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
    expect(page.locator("#server-state")).to_contain_text("The server is slow to answer. Nothing is lost")
    wait(page)
    expect(page.locator("#result h2")).to_have_text("Most like a glioma; 92 % sure.")
    assert len(asked) == 5


def test_the_page_says_that_the_model_warms_up_before_anything_is_sent(browser: Browser, server: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/readyz", lambda route: route.fulfill(status=503))
        page.goto(server)
        expect(page.locator("#server-state")).to_contain_text("The model is warming up")
        page.unroute("**/readyz")
        expect(page.locator("#server-state")).to_have_text("")


def test_without_a_connection_images_wait_and_go_on(page: Page) -> None:
    page.context.set_offline(True)
    page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
    expect(page.locator("#server-state")).to_contain_text("cannot be reached. Nothing is lost")
    page.context.set_offline(False)
    wait(page)
    expect(page.locator("#result h2")).to_have_text("Most like a glioma; 92 % sure.")


def test_a_key_is_asked_for_and_kept_for_the_tab_only(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    with edit_keys(file) as keys:
        secret, keys["ward-3"] = new_key("ward-3")
    with service(tmp_path, api_keys_file=file) as guarded, tab(browser, guarded) as page:
        page.set_input_files("#file", picture(GLIOMA))  # type: ignore[arg-type]
        dialog = page.get_by_role("dialog", name="This server asks for an API key")
        expect(dialog).to_be_visible()
        assert accessibility_faults(page) == []
        page.get_by_label("API key", exact=True).fill("wrong")
        page.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("The API key is not known.")
        page.get_by_label("API key", exact=True).fill(secret)
        page.get_by_role("button", name="Use this key").click()
        wait(page)
        expect(page.locator("#result h2")).to_contain_text("Most like a glioma")
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]


def test_a_service_that_restarts_in_the_middle_of_200_images_loses_none(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with service(tmp_path, port) as address, tab_left_open(browser, address) as page:
        page.set_input_files("#file", [picture(GLIOMA, f"{n}.png") for n in range(200)])  # type: ignore[arg-type]
        page.wait_for_function("() => document.querySelectorAll('#many tr[data-state=done]').length >= 40")
    assert page.locator("#many tr[data-state=done]").count() < 200
    with service(tmp_path, port):
        wait(page)
        assert page.locator("#many tr[data-state=done]").count() == 200
        expect(page.locator("#many .totals")).to_have_text("Glioma: 200")
    page.context.close()


@contextmanager
def tab_left_open(browser: Browser, url: str) -> Iterator[Page]:
    """As `tab`, but the page stays when its server ends."""
    page = browser.new_context().new_page()
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('interactive').length === 1")
    yield page


def test_the_page_is_small_fast_and_asks_nobody_else(browser: Browser, server: str) -> None:
    address = server
    times = []
    for _ in range(3):
        with tab(browser, address) as page:
            page.wait_for_load_state("networkidle")
            times.append([page.evaluate(FIRST, name) for name in ("first-contentful-paint", "interactive")])
            loaded = page.evaluate(
                "performance.getEntriesByType('resource').map((one) => [one.name, one.transferSize])"
            )
    assert [url for url, _ in loaded if not url.startswith(address)] == []
    assert 20_000 < sum(size for _, size in loaded) < 200_000
    first_paint_ms, interactive_ms = (min(column) for column in zip(*times, strict=True))
    assert (first_paint_ms < 1000, interactive_ms < 1500) == (True, True), times
