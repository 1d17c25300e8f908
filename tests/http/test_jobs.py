import asyncio
import errno
import io
import json
import os
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from brainmri.bulk.jobs import run, runner
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import JobSpec, Source, now
from brainmri.bulk.row_tables import SCHEMA
from brainmri.web import spool
from tests.application import SOON_S, Service, code_of
from tests.bulk.test_archives import packed_zip
from tests.disks import small_disk
from tests.http.json_schema import faults
from tests.http.test_openapi import DOCUMENT
from tests.http.test_score import COLOURS, four
from tests.imaging.dicom_samples import dataset, file, twelve_bits
from tests.web.test_auth import add

Png = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "POLL_S", 0.02)
    monkeypatch.setattr(run, "SHARD_SIZE", 8)


def check(name: str, value: Any) -> None:
    """Asserts that a body is what the document describes."""
    assert list(faults(DOCUMENT, {"$ref": f"#/components/schemas/{name}"}, value)) == []


def test_a_job_of_an_upload_from_its_making_to_its_end(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        made = await service.client.post("/jobs", content=packed_zip({**four(png), "e.png": b"text", "README": b"x"}))
        body = made.json()
        check("JobBody", body)
        assert (made.status_code, made.headers["location"]) == (202, f"jobs/{body['id']}")
        assert re.fullmatch(r"[0-9a-f]{32}", body["id"])
        assert (body["state"], body["images"], body["done"], body["ended"]) == ("queued", None, 0, None)
        done = await service.until(body["id"], "succeeded", "failed")
        check("JobBody", done)
        assert (done["state"], done["images"], done["done"], done["failed"]) == ("succeeded", 5, 5, 1)
        assert (done["progress"], done["error"], done["source"]) == (1.0, None, {"kind": "upload", "path": None})
        rows = await service.rows(body["id"])
        for row in rows:
            check("ScoreRow", row)
        assert [(row["path"], row["label"]) for row in rows] == [
            *((name, name.split("/")[0]) for name in four(png)),
            ("e.png", None),
        ]
        assert rows[4]["error_code"] == "image_unreadable"
        await service.until_counted("succeeded")
        listed = (await service.client.get("/jobs")).json()
        check("JobsBody", listed)
        assert [job["id"] for job in listed["jobs"]] == [body["id"]]

    serve(visit)


def test_results_are_the_same_as_parquet_and_as_lines_and_as_score_gives(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        data = packed_zip(four(png))
        identity = await service.make(data)
        await service.until(identity, "succeeded")
        lines = await service.rows(identity)
        for query, accept in (("?format=parquet", "*/*"), ("", "text/html, application/vnd.apache.parquet;q=0.9")):
            path = f"/jobs/{identity}/results{query}"
            response = await service.client.get(path, headers={"accept": accept})
            assert response.headers["content-type"] == "application/vnd.apache.parquet"
            table = pq.read_table(io.BytesIO(response.content))
            assert table.schema.names == SCHEMA.names
            assert [{**row, "scored_at": None} for row in table.to_pylist()] == [
                {**row, "scored_at": None} for row in lines
            ]
        scored = (await service.client.post("/score", content=data)).text.splitlines()[:-1]
        assert [{**json.loads(line), "scored_at": None} for line in scored] == [
            {**row, "scored_at": None} for row in lines
        ]
        refused = await service.client.get(f"/jobs/{identity}/results?format=csv")
        assert (refused.status_code, code_of(refused)) == (400, "malformed_request")

    serve(visit)


def test_bulk_work_has_threads_of_its_own_and_leaves_none_of_them_busy(serve: Callable[..., None], png: Png) -> None:
    def kinds() -> set[str]:
        return {thread.name.rsplit("_", 1)[0] for thread in threading.enumerate()}

    async def visit(service: Service) -> None:
        before = kinds()
        data = packed_zip(four(png))
        identity = await service.make(data)
        await service.until(identity, "succeeded")
        await service.rows(identity)
        assert (await service.client.post("/score", content=data)).status_code == 200
        # asyncio's default executor, which everything in the process would share.
        assert "asyncio" not in kinds() - before
        assert {"archive", "job-store"} <= kinds()
        assert "job-watch" not in kinds()

    serve(visit)


def test_a_form_becomes_a_job_in_which_every_file_is_tried(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        form = [("images", ("no suffix", png())), ("images", ("b.png", png((0, 0, 255))))]
        identity = (await service.client.post("/jobs", files=form)).json()["id"]
        await service.until(identity, "succeeded")
        assert [(row["path"], row["label"]) for row in await service.rows(identity)] == [
            ("no suffix", "glioma"),
            ("b.png", "pituitary"),
        ]

    serve(visit)


def test_another_part_of_the_body_is_a_failed_row_of_a_job_unless_it_is_forced(serve: Callable[..., None]) -> None:
    async def visit(service: Service) -> None:
        form = [("images", ("IM1", file(dataset(twelve_bits(), BodyPartExamined="KNEE"))))]

        async def code(query: str) -> str | None:
            identity = (await service.client.post(f"/jobs{query}", files=form)).json()["id"]
            await service.until(identity, "succeeded")
            found: str | None = (await service.rows(identity))[0]["error_code"]
            return found

        assert (await code(""), await code("?force=true")) == ("not_brain_mr", None)
        refused = await service.client.post("/jobs?force=yes", files=form)
        assert (refused.status_code, code_of(refused)) == (400, "malformed_request")

    serve(visit)


def test_hostile_uploads_are_refused_and_leave_nothing(serve: Callable[..., None], tmp_path: Path) -> None:
    async def visit(service: Service) -> None:
        for data, status in ((packed_zip({"../a.png": b"x"}), 400), (b"x", 400), (bytes(2_000_001), 413)):
            assert (await service.client.post("/jobs", content=data)).status_code == status
        assert (await service.client.get("/jobs")).json() == {"jobs": []}

    serve(visit)
    assert [path for path in (tmp_path / "jobs").iterdir() if path.is_dir()] == []


def test_results_are_refused_until_there_are_all(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        identity = await service.make(packed_zip(four(png)))
        refused = await service.client.get(f"/jobs/{identity}/results")
        assert (refused.status_code, code_of(refused)) == (409, "job_unfinished")
        assert "The job is queued." in refused.json()["error"]["message"]

    serve(visit, started=False)


def test_a_job_goes_on_after_a_restart_and_gives_the_same_rows(serve: Callable[..., None], png: Png) -> None:
    data = packed_zip({f"{number}.png": png((number, 40, 10)) for number in range(60)})
    found: dict[str, Any] = {}

    async def first(service: Service) -> None:
        found["id"] = await service.make(data)
        async with asyncio.timeout(SOON_S):
            while not 0 < (await service.client.get(f"/jobs/{found['id']}")).json()["done"] < 60:
                await asyncio.sleep(0.005)

    async def second(service: Service) -> None:
        body = (await service.client.get(f"/jobs/{found['id']}")).json()
        found["before"] = body["done"]
        assert body["state"] == "running"
        done = await service.until(found["id"], "succeeded", "failed")
        assert (done["state"], done["done"]) == ("succeeded", 60)
        found["rows"] = await service.rows(found["id"])
        # What was stored before was not scored again.
        predicted = service.registry.get_sample_value("brainmri_confidence_ratio_count")
        assert predicted == 60 - found["before"]
        again = await service.make(data)
        await service.until(again, "succeeded")
        uninterrupted = await service.rows(again)
        assert [{**row, "scored_at": None} for row in found["rows"]] == [
            {**row, "scored_at": None} for row in uninterrupted
        ]

    serve(first)
    serve(second)
    assert 0 < found["before"] < 60


def test_deleting_cancels_a_job_and_removes_everything(serve: Callable[..., None], png: Png, tmp_path: Path) -> None:
    archive = packed_zip({f"{number}.png": png() for number in range(190)})

    async def visit(service: Service) -> None:
        identity = await service.make(archive)
        next_one = await service.make(packed_zip(four(png)))
        await service.until(identity, "running")
        gone = await service.client.delete(f"/jobs/{identity}")
        assert (gone.status_code, gone.content) == (204, b"")
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            response = await service.client.request(method, f"/jobs/{identity}{path}")
            assert (response.status_code, code_of(response)) == (404, "job_not_found")
        # The runner is free for the next one.
        await service.until(next_one, "succeeded")
        assert not (tmp_path / "jobs" / identity).exists()
        await service.until_counted("cancelled")

    serve(visit)


@pytest.mark.parametrize("identity", ["0" * 32, "..", "%2e%2e", "a", "%2e%2e%2fjobs", ".lock", "x" * 5000])
def test_other_ids_are_unknown(serve: Callable[..., None], identity: str) -> None:
    async def visit(service: Service) -> None:
        response = await service.client.get(f"/jobs/{identity}")
        assert response.status_code == 404

    serve(visit, started=False)


def test_a_job_belongs_to_the_key_that_made_it(serve: Callable[..., None], png: Png, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = {name: {"Authorization": f"Bearer {add(file, name)}"} for name in ("anna", "ben")}

    async def visit(service: Service) -> None:
        assert (await service.client.post("/jobs", content=b"x")).status_code == 401
        identity = await service.make(packed_zip(four(png)), headers=keys["anna"])
        await service.until(identity, "succeeded", headers=keys["anna"])
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            response = await service.client.request(method, f"/jobs/{identity}{path}", headers=keys["ben"])
            unknown = await service.client.request(method, f"/jobs/{'0' * 32}{path}", headers=keys["ben"])
            assert response.status_code == 404
            bodies = [answer.json()["error"] for answer in (response, unknown)]
            assert {**bodies[0], "request_id": ""} == {**bodies[1], "request_id": ""}
        assert (await service.client.get("/jobs", headers=keys["ben"])).json() == {"jobs": []}
        results = await service.client.get(f"/jobs/{identity}/results", headers=keys["anna"])
        assert len(results.text.splitlines()) == 4

    serve(visit, api_keys_file=file)


def test_so_many_jobs_are_kept_of_a_key_and_in_all(serve: Callable[..., None], png: Png, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    keys = [{"Authorization": f"Bearer {add(file, name)}"} for name in ("anna", "ben", "cleo")]
    data = packed_zip(four(png))

    async def visit(service: Service) -> None:
        for key in (keys[0], keys[0], keys[1]):
            await service.make(data, headers=key)
        for key, limit in ((keys[0], "2 jobs"), (keys[2], "3 jobs")):
            response = await service.client.post("/jobs", content=data, headers=key)
            assert (response.status_code, code_of(response)) == (429, "too_many_jobs")
            assert (response.json()["error"]["limit"], response.headers["retry-after"]) == (limit, "60")

    serve(visit, started=False, api_keys_file=file, max_jobs=3, max_jobs_per_key=2)


def test_without_keys_the_limit_of_one_key_does_not_count(serve: Callable[..., None], png: Png) -> None:
    data = packed_zip(four(png))

    async def visit(service: Service) -> None:
        for _ in range(3):
            await service.make(data)
        response = await service.client.post("/jobs", content=data)
        assert (response.status_code, response.json()["error"]["limit"]) == (429, "3 jobs")

    serve(visit, started=False, max_jobs=3, max_jobs_per_key=1)


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_results_that_vanish_while_they_are_asked_for_are_not_found(
    serve: Callable[..., None], png: Png, form: str
) -> None:
    async def visit(service: Service) -> None:
        identity = await service.make(packed_zip(four(png)))
        await service.until(identity, "succeeded")
        store = service.bulk.store
        assert store is not None
        find = store.get

        def find_and_delete(identity: str, owner: str | None) -> ScoringJob:
            job = find(identity, owner)
            store.delete(job)
            return job

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "get", find_and_delete)
            response = await service.client.get(f"/jobs/{identity}/results?format={form}")
        assert (response.status_code, code_of(response)) == (404, "job_not_found")

    serve(visit)


def test_jobs_take_so_much_room_and_no_more(serve: Callable[..., None], png: Png) -> None:
    data = packed_zip(four(png))
    most = len(data) + 10

    async def visit(service: Service) -> None:
        await service.make(data)
        response = await service.client.post("/jobs", content=data)
        assert (response.status_code, code_of(response)) == (507, "storage_full")
        assert response.json()["error"]["limit"] == f"{most} bytes"
        assert len((await service.client.get("/jobs")).json()["jobs"]) == 1

    serve(visit, started=False, max_jobs_bytes=most)


@pytest.mark.parametrize(
    ("number", "status", "code"), [(errno.ENOSPC, 507, "storage_full"), (errno.EROFS, 503, "storage_unavailable")]
)
def test_a_disk_that_fails_under_an_upload_is_told_as_score_does_and_leaves_nothing(
    serve: Callable[..., None],
    png: Png,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    status: int,
    code: str,
) -> None:
    async def visit(service: Service) -> None:
        data = packed_zip({"a.png": png()})
        with monkeypatch.context() as broken:

            def fail(*_: object) -> None:
                raise OSError(number, os.strerror(number))

            broken.setattr("brainmri.http.jobs.receive_archive", fail)
            response = await service.client.post("/jobs", content=data)
            assert (response.status_code, code_of(response)) == (status, code)
        assert list((tmp_path / "jobs").glob(".incoming-*")) == []
        await service.make(data)

    serve(visit, started=False)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where the tests may mount one."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        yield disk


@pytest.mark.parametrize("path", ["/score", "/jobs"])
def test_a_disk_that_fills_up_is_answered_507_leaves_nothing_and_recovers(
    serve: Callable[..., None], png: Png, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    # Or else a disk so small is refused before the upload.
    monkeypatch.setattr(spool, "_SPARE_BYTES", -(2**40))
    data = packed_zip({f"{number}.png": png() for number in range(5)}, zipfile.ZIP_STORED)

    async def visit(service: Service) -> None:
        # Its first use makes files of its own.
        assert (await service.client.get("/jobs")).status_code == 200
        filler = tiny_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(tiny_disk).free - 8192))
        for body in (data + bytes(100_000), bytes(200_000)):
            response = await service.client.post(path, content=body)
            assert (response.status_code, code_of(response)) == (507, "storage_full"), response.text
            assert str(tiny_disk) not in response.text
        assert list(tiny_disk.glob("jobs/.incoming-*")) == []
        filler.unlink()
        response = await service.client.post(path, content=data)
        assert response.status_code == (200 if path == "/score" else 202), response.text

    serve(visit, started=False, spool_dir=tiny_disk, jobs_dir=tiny_disk / "jobs")


def test_a_job_that_finds_no_room_waits_for_it(
    serve: Callable[..., None], png: Png, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_SPARE_BYTES", -(2**40))
    monkeypatch.setattr(runner, "PAUSE_S", 0.05)
    data = packed_zip(four(png))

    async def make(service: Service) -> None:
        await service.make(data)
        (tiny_disk / "filler").write_bytes(bytes(shutil.disk_usage(tiny_disk).free))

    async def visit(service: Service) -> None:
        await asyncio.sleep(0.3)
        (tiny_disk / "filler").unlink()
        (job,) = (await service.client.get("/jobs")).json()["jobs"]
        assert (await service.until(job["id"], "succeeded"))["done"] == 4
        assert (await service.until(await service.make(data), "succeeded"))["done"] == 4

    settings = {"jobs_dir": tiny_disk / "jobs", "spool_dir": tiny_disk}
    serve(make, started=False, **settings)
    serve(visit, **settings)


def test_a_folder_of_jobs_that_vanishes_is_answered_503_until_it_is_there_again(
    serve: Callable[..., None], png: Png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PAUSE_S", 0.05)
    data = packed_zip(four(png))

    async def visit(service: Service) -> None:
        await service.until(await service.make(data), "succeeded")
        (tmp_path / "jobs").rename(tmp_path / "away")
        for answer in (await service.client.post("/jobs", content=data), await service.client.get("/jobs")):
            assert (answer.status_code, code_of(answer)) == (503, "storage_unavailable")
            assert str(tmp_path) not in answer.text
        (tmp_path / "jobs").mkdir()
        assert (await service.until(await service.make(data), "succeeded"))["done"] == 4

    serve(visit)


def test_jobs_expire(serve: Callable[..., None], png: Png, tmp_path: Path) -> None:
    async def visit(service: Service) -> None:
        identity = await service.make(packed_zip(four(png)))
        done = await service.until(identity, "succeeded")
        assert done["expires"] > done["ended"]
        await asyncio.sleep(1.1)
        await asyncio.to_thread(service.store.sweep)
        assert (await service.client.get(f"/jobs/{identity}")).status_code == 404

    serve(visit, jobs_ttl_s=1)
    assert [path for path in (tmp_path / "jobs").iterdir() if path.is_dir()] == []


def test_a_server_without_a_directory_keeps_no_jobs(serve: Callable[..., None]) -> None:
    async def visit(service: Service) -> None:
        for method, path in (("POST", ""), ("GET", ""), ("GET", "/" + "0" * 32), ("DELETE", "/" + "0" * 32)):
            response = await service.client.request(method, f"/jobs{path}")
            assert (response.status_code, code_of(response)) == (501, "jobs_disabled")

    serve(visit, jobs_dir=None)


@pytest.fixture
def root(tmp_path: Path, png: Png) -> Path:
    """An input root with images, an archive, links that lead out of it, and a file beside it."""
    root = tmp_path / "root"
    for name, data in four(png).items():
        (root / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "scans" / name).write_bytes(data)
    (root / "scans.zip").write_bytes(packed_zip(four(png)))
    (root / "list.csv").write_text("path\n/etc/passwd\n")
    (tmp_path / "secret.png").write_bytes(png())
    (root / "out").symlink_to(tmp_path)
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "scans" / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "loop").symlink_to(root / "loop")
    return root


def test_a_job_of_a_folder_or_an_archive_below_the_root(serve: Callable[..., None], root: Path) -> None:
    async def visit(service: Service) -> None:
        for path, names in (
            ("scans/glioma", ["scans/glioma/glioma.png"]),
            ("scans/glioma/glioma.png", ["scans/glioma/glioma.png"]),
            ("scans.zip", [f"scans.zip/{label}/{label}.png" for label in COLOURS]),
        ):
            identity = (await service.client.post("/jobs", json={"path": path})).json()["id"]
            body = await service.until(identity, "succeeded", "failed")
            assert (body["state"], body["source"]) == ("succeeded", {"kind": "path", "path": path})
            assert [row["path"] for row in await service.rows(identity)] == names

    serve(visit, jobs_input_root=root)


def test_a_link_that_leads_out_of_the_root_is_a_row_without_an_answer(serve: Callable[..., None], root: Path) -> None:
    async def visit(service: Service) -> None:
        identity = (await service.client.post("/jobs", json={"path": "scans"})).json()["id"]
        await service.until(identity, "succeeded")
        rows = {row["path"]: row for row in await service.rows(identity)}
        assert rows["scans/link.png"]["error_code"] == "source_unreadable"
        assert (rows["scans/link.png"]["label"], rows["scans/link.png"]["sha256"]) == (None, None)
        assert sum(row["status"] == "ok" for row in rows.values()) == 4

    serve(visit, jobs_input_root=root)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../secret.png",
        "scans/../../secret.png",
        "/etc/passwd",
        "out",
        "out/secret.png",
        "out.png",
        "loop",
        "missing",
        "scans\0",
        "",
        "a" * 5000,
        "list.csv",
        "s3://bucket/key.png",
        "file:///etc/passwd",
        "zip://a.png::scans.zip",
        "*.png",
    ],
)
def test_no_path_escapes_the_root(serve: Callable[..., None], root: Path, path: str) -> None:
    async def visit(service: Service) -> None:
        response = await service.client.post("/jobs", json={"path": path})
        assert (response.status_code, code_of(response)) == (400, "malformed_request")
        assert str(root.parent) not in response.text

    serve(visit, started=False, jobs_input_root=root)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"path": 1}',
        b'{"path": "a", "b": 1}',
        b'{"path": "\\ud800"}',
        b'{"\\ud800": "a"}',
        b'{"path": "\xff"}',
        b"[" * 60_000,
    ],
)
def test_a_body_that_is_no_path_is_refused(serve: Callable[..., None], root: Path, content: bytes) -> None:
    async def visit(service: Service) -> None:
        headers = {"content-type": "application/json"}
        response = await service.client.post("/jobs", content=content, headers=headers)
        assert (response.status_code, code_of(response)) == (400, "malformed_request")

    serve(visit, started=False, jobs_input_root=root)


def test_paths_are_refused_where_there_is_no_root(serve: Callable[..., None]) -> None:
    async def visit(service: Service) -> None:
        response = await service.client.post("/jobs", json={"path": "scans"})
        assert response.status_code == 400
        assert "BRAINMRI_JOBS_INPUT_ROOT" in response.json()["error"]["message"]

    serve(visit, started=False)


def test_a_job_that_cannot_succeed_says_why(serve: Callable[..., None], png: Png, root: Path) -> None:
    async def visit(service: Service) -> None:
        empty = await service.make(packed_zip({"README": b"x"}))
        body = await service.until(empty, "failed")
        check("JobBody", body)
        assert body["error"]["code"] == "scoring_refused"
        refused = await service.client.get(f"/jobs/{empty}/results")
        assert (refused.status_code, code_of(refused)) == (409, "job_unfinished")
        assert body["error"]["message"] in refused.json()["error"]["message"]
        await service.until_counted("failed")

    serve(visit, jobs_input_root=root)


def test_a_job_that_ends_the_server_again_and_again_is_given_up(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        identity = await service.make(packed_zip(four(png)))
        claim = service.store.claim()
        assert claim is not None
        claim.save(claim.job.status.model_copy(update={"state": "running", "starts": 4}))
        assert service.bulk.runner is not None
        service.bulk.runner.start()
        body = await service.until(identity, "failed", "succeeded")
        assert (body["state"], body["error"]["code"]) == ("failed", "scoring_hopeless")
        assert "begun 4 times without getting further" in body["error"]["message"]

    serve(visit, started=False)


def test_a_job_whose_model_is_no_longer_served_fails(serve: Callable[..., None], png: Png) -> None:
    async def visit(service: Service) -> None:
        with service.store.incoming() as folder:
            (folder / "upload").write_bytes(packed_zip(four(png)))
            spec = JobSpec(
                id="a" * 32, owner=None, created=now(), source=Source(), model_name="other", model_version="9"
            )
            await asyncio.to_thread(service.store.publish, folder, spec)
        body = await service.until("a" * 32, "failed")
        assert body["error"]["code"] == "model_not_found"

    serve(visit)
