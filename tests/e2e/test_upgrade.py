"""An installation of the releases up to 0.2.2, with everything that they kept, and a server of today on top of it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from brainmri.web.auth import edit_keys, new_key
from tests.bulk.test_archives import packed_zip
from tests.e2e.servers import Server, serving
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.slow

NAME = "brain_mri_xception"
ENDED, WAITING = "1" * 32, "2" * 32
ROW = {"path": "old.png", "label": "glioma"}


def older_job(folder: Path, identity: str, state: str, archive: bytes) -> None:
    """Writes one job as those releases did: `job.json`, `status.json` and the upload in a folder of its own."""
    folder = folder / identity
    folder.mkdir(parents=True)
    created = datetime.now(UTC).isoformat()
    spec = {
        "id": identity,
        "owner": "anna",
        "created": created,
        "source": {"path": None, "is_form": False},
        "model_name": NAME,
        "model_version": "0.0.1",
    }
    ended = {"images": 1, "done": 1, "started": created, "ended": created} if state == "succeeded" else {}
    (folder / "job.json").write_text(json.dumps(spec))
    (folder / "status.json").write_text(json.dumps({"state": state, **ended}))
    (folder / "upload").write_bytes(archive)


def installation(folder: Path, png: Callable[..., bytes]) -> tuple[str, dict[str, str | int]]:
    """Makes it; returns an API key and the settings."""
    home = folder / "home" / "brainmri"
    (home / "workers" / "4194304").mkdir(parents=True)
    (home / "workers" / "4194304" / "7").write_text("ready")
    (home / "wanted.json").write_text(json.dumps({"configured": [f"{NAME}:0.0.1"], "activated": f"{NAME}:0.0.2"}))
    (folder / "home" / "prometheus_multiproc_dir").mkdir()
    (folder / "home" / "prometheus_multiproc_dir" / "counter_7.db").write_bytes(b"")
    for identity, state in ((ENDED, "succeeded"), (WAITING, "queued")):
        older_job(folder / "jobs", identity, state, packed_zip({"old.png": png((255, 0, 0))}))
    with edit_keys(folder / "keys") as keys:
        key, keys["anna"] = new_key("anna")
    settings: dict[str, str | int] = {
        "jobs_dir": str(folder / "jobs"),
        "api_keys_file": str(folder / "keys"),
        "lanes": 1,
        "batch_wait_ms": 1,
    }
    return key, settings


def state(server: Server, identity: str) -> dict[str, Any]:
    body: dict[str, Any] = server.client.get(f"/jobs/{identity}").json()
    return body


def test_jobs_keys_models_and_settings_of_an_earlier_release_go_on(tmp_path: Path, png: Callable[..., bytes]) -> None:
    key, settings = installation(tmp_path, png)
    with serving(tmp_path, **settings) as server:
        assert server.client.get("/jobs").status_code == 401
        server.client.headers["X-API-Key"] = key
        assert {job["id"] for job in server.client.get("/jobs").json()["jobs"]} == {ENDED, WAITING}
        assert (state(server, ENDED)["state"], state(server, ENDED)["done"]) == ("succeeded", 1)
        server.until(lambda: state(server, WAITING)["state"] == "succeeded", "the job that waited has run")
        rows = [json.loads(line) for line in server.client.get(f"/jobs/{WAITING}/results").text.splitlines()]
        assert [{name: row[name] for name in ROW} for row in rows] == [ROW]
        # The environment decides what a start serves; what was activated can be activated again.
        assert server.client.get("/model").json()["version"] == "0.0.1"
        write_tiny_bundle(tmp_path / "0.0.2", tmp_path, version="0.0.2")
        assert server.command("models", "import", str(tmp_path / "0.0.2")).returncode == 0
        assert server.command("models", "activate", f"{NAME}:0.0.2").returncode == 0
        server.until(lambda: server.client.get("/model").json()["version"] == "0.0.2", "it serves what is activated")
        answer = server.client.post("/predict", content=png((255, 0, 0)), headers={"Content-Type": "image/png"})
        assert (answer.status_code, answer.json()["label"]) == (200, "glioma")
    assert sorted(path.name for path in (tmp_path / "home" / "brainmri").iterdir()) == ["servers"]
