import asyncio
import contextlib
import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from brainmri.commands.keys import keys as keys_app
from brainmri.errors import BrainMRIError, InvalidSettings, Unauthenticated
from brainmri.web.auth import (
    MAX_KEY_CHARACTERS,
    HashedKey,
    KeyMiddleware,
    KeyRing,
    edit_keys,
    new_key,
    presented_key,
    read_keys,
)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def add(file: Path, name: str) -> str:
    with edit_keys(file) as known:
        key, known[name] = new_key(name)
    return key


def remove(file: Path, name: str) -> None:
    with edit_keys(file) as known:
        del known[name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def ring_of(file: Path, clock: Clock | None = None) -> KeyRing:
    ring = KeyRing(file, clock or Clock())
    ring.load()
    return ring


def test_a_known_key_tells_its_name(file: Path) -> None:
    keys = {name: add(file, name) for name in ("ward-3", "pacs")}
    ring = ring_of(file)
    assert {name: ring.check(key) for name, key in keys.items()} == {"ward-3": "ward-3", "pacs": "pacs"}


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1], lambda key: key + "x", lambda key: key.swapcase(), lambda _: "é"]
)
def test_anything_else_is_refused(file: Path, change: Any) -> None:
    key = add(file, "ward-3")
    ring = ring_of(file)
    with pytest.raises(Unauthenticated, match="is not known"):
        ring.check(change(key))


@pytest.mark.parametrize(("characters", "known"), [(MAX_KEY_CHARACTERS, True), (MAX_KEY_CHARACTERS + 1, False)])
def test_a_key_beyond_the_longest_is_not_even_hashed(file: Path, characters: int, known: bool) -> None:
    key, salt = "k" * characters, bytes(16)
    with edit_keys(file) as keys:
        keys["ward-3"] = HashedKey("ward-3", salt, hashlib.sha256(salt + key.encode()).digest())
    with contextlib.nullcontext() if known else pytest.raises(Unauthenticated, match="is not known"):
        assert ring_of(file).check(key) == "ward-3"


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_key_the_message_says_how_to_send_one(file: Path, nothing: str | None) -> None:
    add(file, "ward-3")
    with pytest.raises(Unauthenticated, match="Authorization: Bearer KEY"):
        ring_of(file).check(nothing)


def test_before_the_file_was_read_nobody_gets_in(file: Path) -> None:
    key = add(file, "ward-3")
    ring = KeyRing(file, clock := Clock())
    clock.now -= 10
    with pytest.raises(Unauthenticated):
        ring.check(key)


def test_a_changed_file_counts_within_a_second(file: Path) -> None:
    first = add(file, "first")
    ring = ring_of(file, clock := Clock())
    second = add(file, "second")
    clock.now += 0.9
    with pytest.raises(Unauthenticated):
        ring.check(second)
    clock.now += 0.1
    assert ring.check(second) == "second"
    remove(file, "first")
    clock.now += 1
    with pytest.raises(Unauthenticated):
        ring.check(first)
    assert ring.check(second) == "second"


@pytest.mark.parametrize("broken", ["ward-3 sha256 00", "\x00\xff", "x" * 70_000, None])
def test_a_broken_or_missing_file_keeps_the_last_good_keys_and_is_logged_once(
    file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    key = add(file, "ward-3")
    good = file.read_bytes()
    ring = ring_of(file, clock := Clock())
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken, "latin-1")
    with caplog.at_level(logging.INFO, "brainmri"):
        for _ in range(3):
            clock.now += 1
            assert ring.check(key) == "ward-3"
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert caplog.records[0].getMessage().startswith("The API keys stay as they were.")
        file.write_bytes(good)
        other = add(file, "other")
        clock.now += 1
        assert ring.check(other) == "other"
    assert "2 API keys were read" in caplog.records[-1].getMessage()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("ward-3 sha256 00112233445566778899aabbccddeeff", "Line 1 of"),
        ("# comment\nward-3 md5 00112233445566778899aabbccddeeff 00112233445566778899aabbccddeeff", "Line 2 of"),
        ("bad/name sha256 " + "00" * 16 + " " + "00" * 32, "Line 1 of"),
        ("a sha256 " + "0" * 33 + " " + "00" * 32, "Line 1 of"),
        (("a sha256 " + "00" * 16 + " " + "00" * 32 + "\n") * 2, "two keys of one name"),
        ("é", "not ASCII"),
        ("#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_at_the_start_a_bad_file_is_refused_with_the_reason(file: Path, text: str | None, message: str) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidSettings, match=message) as caught:
        ring_of(file)
    assert str(file) in caught.value.message


def test_a_key_written_into_the_file_by_mistake_is_not_quoted(file: Path) -> None:
    file.write_text("brainmri_secretsecret\n")
    with pytest.raises(InvalidSettings) as caught:
        read_keys(file)
    assert "secretsecret" not in caught.value.message


@pytest.mark.parametrize(
    ("authorization", "x_api_key", "presented"),
    [
        ("Bearer abc", None, "abc"),
        ("bearer  abc ", None, "abc"),
        (None, "abc", "abc"),
        ("Bearer abc", "other", "abc"),
        ("Basic abc", "other", "other"),
        ("Basic abc", None, None),
        ("Bearer", None, None),
        ("Bearer ", "abc", "abc"),
        (None, None, None),
    ],
)
def test_where_a_key_may_stand(authorization: str | None, x_api_key: str | None, presented: str | None) -> None:
    assert presented_key(authorization, x_api_key) == presented


async def answered(scope: Any, _: Any, send: Any) -> None:
    body = str(scope.get("state", {}).get("key_name")).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def ask(ring: KeyRing, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(KeyMiddleware(answered, ring))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def get(ring: KeyRing, path: str, **headers: str) -> httpx.Response:
    return asyncio.run(ask(ring, path, **headers))


def test_the_name_of_the_key_reaches_the_state(file: Path) -> None:
    key = add(file, "ward-3")
    ring = ring_of(file)
    assert get(ring, "/predict", authorization=f"Bearer {key}").text == "ward-3"
    assert get(ring, "/predict", x_api_key=key).text == "ward-3"


@pytest.mark.parametrize(
    "path", ["/predict", "/model", "/schema.json", "/nothing", "/v2/models/m", "/livez/", "/livez.json"]
)
def test_every_other_path_needs_a_key(file: Path, path: str) -> None:
    add(file, "ward-3")
    response = get(ring_of(file), path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="brainmri"'


@pytest.mark.parametrize(
    "path",
    [
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/",
        "/docs.json",
        "/static_content/swagger-ui.css",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/brain_mri/ready",
        "/v2/models/brain_mri/versions/0.1.0/ready",
    ],
)
def test_probes_and_the_description_need_none(file: Path, path: str) -> None:
    add(file, "ward-3")
    assert get(ring_of(file), path).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v1/models/m:predict"])
def test_the_protocols_keep_their_shape_of_error(file: Path, path: str) -> None:
    add(file, "ward-3")
    body = get(ring_of(file), path).json()
    assert list(body) == ["error"]
    assert body["error"].startswith("This service needs an API key.")


def test_our_own_paths_have_the_one_shape_of_error(file: Path) -> None:
    add(file, "ward-3")
    error = get(ring_of(file), "/predict").json()["error"]
    assert error["code"] == "unauthenticated"
    assert list(error) == ["code", "message", "limit", "request_id"]


def run(*arguments: str) -> tuple[str, str]:
    done = CliRunner().invoke(keys_app, arguments)
    if done.exception is not None:
        raise done.exception
    return done.stdout, done.stderr


def test_keys_are_added_listed_and_removed(file: Path) -> None:
    key = run("add", "ward-3", "--file", str(file))[0].strip()
    run("add", "pacs", "--file", str(file))
    assert key.startswith("brainmri_")
    assert len(key) == len("brainmri_") + 43
    assert ring_of(file).check(key) == "ward-3"
    assert run("list", "--file", str(file))[0].split() == ["ward-3", "pacs"]
    run("remove", "ward-3", "--file", str(file))
    assert run("list", "--file", str(file))[0].split() == ["pacs"]
    with pytest.raises(Unauthenticated):
        ring_of(file).check(key)


def test_the_file_holds_no_key_and_is_the_owners_alone(file: Path) -> None:
    file.touch(mode=0o644)
    key = add(file, "ward-3")
    assert key not in file.read_text()
    assert key.removeprefix("brainmri_") not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_write_that_fails_leaves_the_old_file_and_no_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(file, "ward-3")
    before = file.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InvalidSettings, match="No space left on device"):
        add(file, "pacs")
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "ward-3"], "has a key 'ward-3' already"),
        (["add", "two words"], "is not a name for a key"),
        (["remove", "nobody"], "has no key 'nobody'"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(file: Path, arguments: list[str], message: str) -> None:
    add(file, "ward-3")
    before = file.read_bytes()
    with pytest.raises(BrainMRIError, match=message):
        run(*arguments, "--file", str(file))
    assert file.read_bytes() == before


def test_the_file_is_the_settings_unless_it_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAINMRI_API_KEYS_FILE", raising=False)
    with pytest.raises(InvalidSettings, match="--file or BRAINMRI_API_KEYS_FILE"):
        run("list")
    monkeypatch.setenv("BRAINMRI_API_KEYS_FILE", str(file))
    run("add", "ward-3")
    assert [key.name for key in read_keys(file)] == ["ward-3"]
