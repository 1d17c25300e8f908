"""A person tells on the page that an answer is wrong, in a real browser against a real server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from brainmri.observe.journal import read_journal
from brainmri.web.auth import edit_keys, new_key
from tests.page.chromium import CHROMIUM, accessibility_faults, give, picture, tab
from tests.page.service import service

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian's package)"),
]

GLIOMA = picture((200, 20, 20))


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server that takes feedback, and a key."""
    file = tmp_path / "keys"
    with edit_keys(file) as keys:
        key, keys["anna"] = new_key("anna")
    with service(tmp_path, api_keys_file=file, feedback_dir=tmp_path / "feedback") as address:
        yield address, key


def test_a_wrong_answer_is_told_with_the_hash_of_the_file(
    browser: Browser, keyed: tuple[str, str], tmp_path: Path
) -> None:
    address, key = keyed
    with tab(browser, address) as page:
        page.evaluate("(key) => sessionStorage.setItem('brainmri-api-key', key)", key)
        page.reload()
        give(page, GLIOMA)
        page.get_by_text("This is wrong").click()
        choice = page.get_by_label("It should be")
        expect(choice.locator("option")).to_have_text(["Meningioma", "No tumour", "Pituitary tumour", "Not usable"])
        choice.select_option("meningioma")
        assert accessibility_faults(page) == []
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".feedback .told")).to_contain_text("Thank you")
    (entry,) = read_journal(tmp_path / "feedback")
    assert entry["image_sha256"] == hashlib.sha256(GLIOMA["buffer"]).hexdigest()
    assert (entry["label"], entry["request_id"]) == ("meningioma", None)


def test_a_server_without_a_store_offers_nothing(browser: Browser, tmp_path: Path) -> None:
    with service(tmp_path) as address, tab(browser, address) as page:
        give(page, GLIOMA)
        expect(page.get_by_text("Details", exact=True)).to_be_visible()
        expect(page.get_by_text("This is wrong")).to_have_count(0)
