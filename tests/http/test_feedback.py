"""What people say of answers: who may, what is kept, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainmri.errors import InvalidSettings
from brainmri.model.contract import NOT_USABLE
from brainmri.observe.journal import Journal, read_journal
from brainmri.settings import load_settings
from brainmri.web.auth import edit_keys, new_key
from tests.application import Ask, code_of

SHA = "0123456789abcdef" * 4

Send = Callable[..., httpx.Response]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def send(ask: Ask, tmp_path: Path, store: Path) -> Send:
    """Sends feedback with a key to a server that takes it."""
    file = tmp_path / "keys"
    with edit_keys(file) as keys:
        key, keys["anna"] = new_key("anna")

    def post(body: Any, *, key: str = key, path: str = "/feedback", **settings: Any) -> httpx.Response:
        chosen = {"api_keys_file": file, "feedback_dir": store, **settings}
        return ask("POST", path, settings=chosen, headers={"X-API-Key": key}, json=body)

    return post


def test_hash_label_model_and_time_are_kept_and_no_name(send: Send, store: Path) -> None:
    assert send({"image_sha256": SHA, "label": "meningioma"}).status_code == 204
    assert send({"request_id": "abc.1", "label": NOT_USABLE}).status_code == 204
    first, second = read_journal(store)
    assert first.keys() == {"time", "image_sha256", "request_id", "label", "model"}
    assert (first["image_sha256"], first["label"]) == (SHA, "meningioma")
    assert (second["image_sha256"], second["request_id"], second["label"]) == (None, "abc.1", NOT_USABLE)
    assert "anna" not in str((first, second))


@pytest.mark.parametrize(
    "body",
    [
        {"label": "glioma"},
        {"image_sha256": SHA, "request_id": "a", "label": "glioma"},
        {"image_sha256": SHA.upper(), "label": "glioma"},
        {"image_sha256": SHA},
        {"image_sha256": SHA, "label": "glioma", "comment": "of Mr. Smith"},
        {"request_id": "of Mr. Smith", "label": "glioma"},
        [SHA],
    ],
)
def test_anything_else_is_refused_and_not_kept(send: Send, store: Path, body: Any) -> None:
    refused = send(body)
    assert (refused.status_code, code_of(refused)) == (400, "malformed_request")
    assert "image_sha256" in refused.json()["error"]["message"]
    assert not store.exists()


def test_a_label_is_one_of_the_models(send: Send) -> None:
    refused = send({"image_sha256": SHA, "label": "stroke"})
    assert (refused.status_code, code_of(refused)) == (400, "malformed_request")
    assert "glioma, meningioma, notumor, pituitary, not_usable" in refused.json()["error"]["message"]
    missing = send({"image_sha256": SHA, "label": "glioma"}, path="/feedback?model=other")
    assert (missing.status_code, code_of(missing)) == (404, "model_not_found")


def test_a_body_beyond_a_kilobyte_is_refused(send: Send) -> None:
    refused = send({"image_sha256": SHA, "label": "x" * 2000})
    assert (refused.status_code, code_of(refused)) == (413, "request_too_large")


def test_it_needs_a_key_and_is_off_by_default(ask: Ask, send: Send, store: Path) -> None:
    body = {"image_sha256": SHA, "label": "glioma"}
    assert send(body, key="wrong").status_code == 401
    assert not store.exists()
    off = ask("POST", "/feedback", json=body)
    assert (off.status_code, code_of(off)) == (501, "feedback_disabled")


def test_a_server_that_would_take_feedback_from_anybody_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINMRI_FEEDBACK_DIR", str(tmp_path))
    with pytest.raises(InvalidSettings, match="BRAINMRI_API_KEYS_FILE"):
        load_settings()


def test_a_full_store_says_so(send: Send, store: Path) -> None:
    Journal(store, 4096, "refuse", files=1).append({"fill": "x" * 4000})
    full = send({"image_sha256": SHA, "label": "glioma"}, max_feedback_bytes=4096)
    assert (full.status_code, code_of(full), full.json()["error"]["limit"]) == (507, "storage_full", "4096 bytes")
