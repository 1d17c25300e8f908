import asyncio
import hashlib
import io
import json
import tarfile
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Message

from brainmri.batching.admission import Work
from brainmri.batching.batcher import Unobserved
from brainmri.batching.bulk_limiter import BulkLimiter
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.bulk.archives.archive import open_archive
from brainmri.bulk.continuation import token
from brainmri.bulk.row_tables import SCHEMA
from brainmri.errors import NotReady
from brainmri.http.app import create_app
from brainmri.model.predictor import Predictor, Slice
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from tests.application import MAX_IMAGE_BYTES, Ask, api_settings, code_of
from tests.batching.stand_in import until
from tests.bulk.test_archives import PACKS, every_format, packed_tar, packed_zip
from tests.http.json_schema import faults
from tests.http.test_openapi import DOCUMENT

COLOURS = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}
LIMITS = {"max_archive_bytes": 2_000_000, "max_archive_images": 50, "bulk_timeout_s": 20}

Png = Callable[..., bytes]


def lines_of(response: httpx.Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns rows and summary, after checking that each is what the document describes."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    for line in lines:
        assert list(faults(DOCUMENT, {"$ref": "#/components/schemas/ScoreLine"}, line)) == []
    assert ["summary" in line for line in lines] == [False] * (len(lines) - 1) + [True]
    return lines[:-1], lines[-1]["summary"]


def four(png: Png) -> dict[str, bytes]:
    return {f"{label}/{label}.png": png(colour) for label, colour in COLOURS.items()}


def send(ask: Ask, data: bytes, **limits: Any) -> httpx.Response:
    return ask("POST", "/score", content=data, settings={**LIMITS, **limits})


@every_format
def test_every_image_of_an_archive_has_a_row_in_its_order(ask: Ask, png: Png, pack: Callable[..., bytes]) -> None:
    files = four(png)
    rows, summary = lines_of(send(ask, pack(files)))
    assert [(row["path"], row["label"], row["status"]) for row in rows] == [
        (name, name.split("/")[0], "ok") for name in files
    ]
    assert [row["sha256"] for row in rows] == [hashlib.sha256(data).hexdigest() for data in files.values()]
    assert all(list(row) == SCHEMA.names for row in rows)
    assert summary["labels"] == dict.fromkeys(COLOURS, 1)
    assert (summary["images"], summary["rows"], summary["failed"], summary["complete"]) == (4, 4, 0, True)
    assert summary["error"] is None


def test_a_form_of_files_is_answered_like_an_archive_of_them(ask: Ask, png: Png) -> None:
    def stable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "scored_at": None} for row in rows]

    files = {**four(png), "no suffix": png()}
    form = [("images", (name, data)) for name, data in files.items()]
    rows, summary = lines_of(ask("POST", "/score", files=form, settings=LIMITS))
    from_archive, _ = lines_of(send(ask, packed_zip(four(png))))
    assert stable(rows[:4]) == stable(from_archive)
    assert (rows[4]["path"], rows[4]["label"], summary["left_out"]) == ("no suffix", "glioma", 0)


def test_a_row_is_what_predict_answers(ask: Ask, png: Png) -> None:
    image = png((200, 40, 10))
    (row,), summary = lines_of(send(ask, packed_zip({"a.png": image})))
    single = ask("POST", "/predict", files={"image": image}).json()
    assert {label: row[f"probability_{label}"] for label in COLOURS} == pytest.approx(single["probabilities"], abs=1e-7)
    assert (row["label"], row["verdict"]) == (single["label"], single["verdict"])
    assert row["model"] == f"{single['model']['name']}:{single['model']['version']}"
    assert summary["model"] == single["model"]
    assert summary["notice"] == single["notice"]


def test_an_image_that_cannot_be_answered_is_a_row(ask: Ask, png: Png, registry: CollectorRegistry) -> None:
    files = {"a.png": png(), "b.png": b"text", "c.png": b"", "d.png": b"x" * (MAX_IMAGE_BYTES + 1), "e.png": png()}
    rows, summary = lines_of(send(ask, packed_zip(files)))
    assert [row["error_code"] for row in rows] == [None, "image_unreadable", "image_empty", "image_too_large", None]
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "failed", "ok"]
    assert (rows[1]["label"], rows[1]["probability_glioma"]) == (None, None)
    assert (rows[1]["sha256"], rows[3]["sha256"]) == (hashlib.sha256(b"text").hexdigest(), None)
    assert (summary["failed"], summary["complete"]) == (3, True)
    assert summary["errors"] == {"image_empty": 1, "image_too_large": 1, "image_unreadable": 1}
    assert registry.get_sample_value("brainmri_predictions_total", {"label": "glioma"}) == 2


def test_a_damaged_member_is_a_row_and_the_others_are_answered(ask: Ask, png: Png) -> None:
    data = bytearray(packed_zip({"a.png": png(side=70), "b.png": png()}, zipfile.ZIP_STORED))
    data[data.index(b"IDAT") + 8] ^= 1
    rows, summary = lines_of(send(ask, bytes(data)))
    assert [row["error_code"] for row in rows] == ["image_unreadable", None]
    assert "is damaged: Bad CRC-32" in rows[0]["error_message"]
    assert summary["complete"]


def test_files_that_are_no_images_by_their_names_are_left_out_of_an_archive_and_counted(ask: Ask, png: Png) -> None:
    data = packed_zip({"README.md": b"x", "labels.csv": b"x", "a.png": png(), "__MACOSX/._a.png": b"x"})
    rows, summary = lines_of(send(ask, data))
    assert ([row["path"] for row in rows], summary["left_out"], summary["images"]) == (["a.png"], 2, 1)
    assert summary["left_out_reasons"] == {"other_kind": 2}


def test_an_archive_without_images_is_answered_by_a_summary(ask: Ask) -> None:
    rows, summary = lines_of(send(ask, packed_zip({"README.md": b"x"})))
    assert (rows, summary["images"], summary["complete"]) == ([], 0, True)


def link(kind: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (packed_zip({"/etc/a.png": b"x"}), 400, "archive_refused"),
        (packed_zip({"../a.png": b"x"}), 400, "archive_refused"),
        (packed_tar({"../a.png": b"x"}), 400, "archive_refused"),
        (packed_zip({"inner.zip": b"x"}), 400, "archive_refused"),
        (link(tarfile.SYMTYPE), 400, "archive_refused"),
        (link(tarfile.LNKTYPE), 400, "archive_refused"),
        (b"", 400, "archive_refused"),
        (b"\x89PNG\r\n\x1a\n", 400, "archive_refused"),
        (packed_zip({f"{number}.png": b"x" for number in range(51)}), 413, "archive_too_large"),
        (packed_zip({"a.png": bytes(100 * 2**20)}), 413, "archive_too_large"),
        (packed_zip({"a.png": bytes(2_000_001)}, zipfile.ZIP_STORED), 413, "request_too_large"),
    ],
)
def test_hostile_archives_are_refused_as_a_whole(ask: Ask, data: bytes, status: int, code: str) -> None:
    response = send(ask, data)
    assert (response.status_code, code_of(response)) == (status, code)


def test_an_archive_of_more_unpacked_bytes_than_allowed_is_refused_with_the_limit(ask: Ask) -> None:
    response = send(ask, PACKS["tar.gz"]({"a.png": bytes(5000)}), max_unpacked_bytes=4000)
    assert (response.status_code, response.json()["error"]["limit"]) == (413, "4000 bytes unpacked")


@pytest.mark.parametrize(
    ("names", "field", "message"),
    [
        (["a.png", "a.png"], "images", "two files named 'a.png'"),
        (["scans.zip"], "images", "Send an archive as the body itself"),
        (["a/"], "images", "Give each a name of its own"),
        (["a" * 2000], "images", "Give each a name of its own"),
        (["a.png"], "image", "Send only files, in the field 'images'"),
    ],
)
def test_a_form_whose_rows_could_not_be_told_apart_is_refused(
    ask: Ask, names: list[str], field: str, message: str
) -> None:
    response = ask("POST", "/score", files=[(field, (name, b"x")) for name in names], settings=LIMITS)
    assert (response.status_code, code_of(response)) == (400, "malformed_request")
    assert message in response.json()["error"]["message"]


def test_a_form_of_too_many_files_is_refused(ask: Ask) -> None:
    form = [("images", (f"{number}.png", b"x")) for number in range(51)]
    response = ask("POST", "/score", files=form, settings=LIMITS)
    assert (response.status_code, response.json()["error"]["limit"]) == (413, "50 images")


def test_a_disk_without_room_is_answered_507_before_the_upload(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainmri.web.spool._SPARE_BYTES", 2**70)
    response = send(ask, packed_zip({"a.png": b"x"}))
    assert (response.status_code, code_of(response)) == (507, "storage_full")


@pytest.mark.parametrize("buffer", [1, 2**20], ids=["when it is written", "when it is flushed and closed"])
def test_a_disk_that_fills_during_the_upload_is_answered_507(
    ask: Ask, png: Png, monkeypatch: pytest.MonkeyPatch, buffer: int
) -> None:
    def full(*_: object, **__: object) -> io.BufferedWriter:
        return io.BufferedWriter(io.FileIO("/dev/full", "wb"), buffer)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    response = send(ask, packed_zip({"a.png": png()}))
    assert (response.status_code, code_of(response)) == (507, "storage_full")


def test_a_spool_that_is_gone_is_answered_503_until_it_is_there_again(ask: Ask, png: Png, tmp_path: Path) -> None:
    folder, data = tmp_path / "spool", packed_zip({"a.png": png()})
    response = send(ask, data, spool_dir=folder)
    assert (response.status_code, code_of(response)) == (503, "storage_unavailable")
    assert "No such file or directory" in response.json()["error"]["message"]
    assert str(folder) not in response.text
    folder.mkdir()
    assert send(ask, data, spool_dir=folder).status_code == 200


def test_nothing_is_left_on_disk(ask: Ask, png: Png, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    lines_of(send(ask, packed_zip({"a.png": png()}), spool_dir=folder))
    assert send(ask, b"no archive", spool_dir=folder).status_code == 400
    assert list(folder.iterdir()) == []


def test_models_that_are_not_served_and_starting_servers_are_refused_before_the_upload(ask: Ask) -> None:
    assert ask("POST", "/score?model=other", content=b"x", settings=LIMITS).status_code == 404
    assert ask("POST", "/score", content=b"x", served=(), settings=LIMITS).status_code == 503


class Caller:
    """One request to the application as a server makes it, of which the test sees and says everything.

    Args:
        engine: Answers, as soon as `start` has been awaited.
        predictor: What it serves.
        body: Of the request.
        path: Of the request, perhaps with a query.
        settings: Changes.
    """

    def __init__(
        self, engine: Engine, predictor: Predictor, body: bytes, path: str = "/score", **settings: Any
    ) -> None:
        self._path, _, self._query = path.partition("?")
        self.metrics = Metrics(CollectorRegistry())
        self.lines: list[dict[str, Any]] = []
        self.status = 0
        self.left = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self._app = create_app(DataPlane(engine, api_settings(**{**LIMITS, **settings}), self.metrics), self.metrics)
        self._engine, self._predictor, self._body = engine, predictor, [body]

    async def start(self) -> None:
        await self._engine.start(lambda: [self._predictor])

    async def call(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "query_string": self._query.encode(),
            "headers": [(b"content-type", b"application/zip")],
        }
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self.reading.wait()
        self.lines += [json.loads(line) for line in message.get("body", b"").splitlines()]


def forty(png: Png) -> bytes:
    return packed_zip({f"{number}.png": png() for number in range(40)})


def test_a_client_that_leaves_stops_the_work(predictor: Predictor, png: Png) -> None:
    async def talk() -> int:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        caller = Caller(engine, predictor, forty(png))
        await caller.start()
        task = asyncio.create_task(caller.call())
        await until(lambda: len(caller.lines) >= 3 or task.done())
        caller.left.set()
        await asyncio.wait_for(task, 5)
        answered = len(caller.lines)
        # Everything that was accepted has ended: nothing goes on for nobody.
        assert await engine.drain(grace_s=0.5)
        return answered

    assert 3 <= asyncio.run(talk()) < 40


def test_a_client_that_does_not_read_holds_back_the_work_and_is_left_at_the_deadline(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainmri.http.score._SEND_PATIENCE_S", 0.2)

    async def talk() -> float:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        caller = Caller(engine, predictor, forty(png), bulk_timeout_s=0.3)
        await caller.start()
        caller.reading.clear()
        await asyncio.wait_for(caller.call(), 5)
        assert await engine.drain(grace_s=0.5)
        return float(caller.metrics._predictions.labels("glioma")._value.get())

    assert asyncio.run(talk()) <= 3


def test_a_request_that_takes_too_long_ends_with_a_summary_that_says_so(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = predictor.read

    def slowly(data: bytes, *more: Any) -> Slice:
        time.sleep(0.2)
        return read(data, *more)

    async def talk() -> list[dict[str, Any]]:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        # Forty images take 8 s.
        caller = Caller(engine, predictor, forty(png), bulk_timeout_s=2)
        await caller.start()
        monkeypatch.setattr(predictor, "read", slowly)
        await caller.call()
        await engine.drain(grace_s=1)
        return caller.lines

    *rows, last = asyncio.run(talk())
    assert last["summary"]["error"]["code"] == "deadline_exceeded"
    assert (last["summary"]["complete"], last["summary"]["rows"]) == (False, len(rows))


def test_a_server_that_ends_says_so_in_the_summary(predictor: Predictor, png: Png) -> None:
    async def talk() -> list[dict[str, Any]]:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        caller = Caller(engine, predictor, forty(png))
        await caller.start()
        task = asyncio.create_task(caller.call())
        await until(lambda: bool(caller.lines) or task.done())
        engine.retire()
        await asyncio.wait_for(task, 5)
        await engine.drain(grace_s=1)
        return caller.lines

    *rows, last = asyncio.run(talk())
    assert last["summary"]["error"]["code"] == "not_ready"
    assert (last["summary"]["complete"], last["summary"]["rows"], last["summary"]["images"]) == (False, len(rows), 40)
    assert 0 < len(rows) < 40


def test_an_answer_that_ended_early_is_continued_by_its_token(predictor: Predictor, png: Png) -> None:
    async def answers(path: str, *, retired: bool) -> list[dict[str, Any]]:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        caller = Caller(engine, predictor, data, path)
        await caller.start()
        task = asyncio.create_task(caller.call())
        await until(lambda: len(caller.lines) >= 3 or task.done())
        if retired:
            engine.retire()
        await asyncio.wait_for(task, 20)
        await engine.drain(grace_s=1)
        return caller.lines

    data, rows, path = forty(png), [], "/score"
    for retired in (True, True, False):
        *more, last = asyncio.run(answers(path, retired=retired))
        rows += [row["path"] for row in more]
        assert (last["summary"]["images"], last["summary"]["rows"]) == (40 - len(rows) + len(more), len(more))
        path = f"/score?resume={last['summary']['resume']}"
    assert rows == [f"{number}.png" for number in range(40)]
    assert (last["summary"]["complete"], last["summary"]["resume"]) == (True, None)


def test_a_token_of_another_archive_or_of_none_is_refused(ask: Ask, png: Png) -> None:
    def refused(token: str, data: bytes) -> None:
        response = ask("POST", f"/score?resume={token}", content=data, settings=LIMITS)
        assert (response.status_code, code_of(response)) == (400, "malformed_request")
        assert "leave the parameter out to begin with the first image" in response.json()["error"]["message"]

    data = packed_zip({"a.png": png(), "b.png": png()})
    with open_archive(io.BytesIO(data)) as archive:
        valid = token(archive.members, len(archive.members), 1)
    rows, summary = lines_of(ask("POST", f"/score?resume={valid}", content=data, settings=LIMITS))
    assert ([row["path"] for row in rows], summary["images"], summary["complete"]) == (["b.png"], 1, True)
    refused(valid, packed_zip({"a.png": png(), "c.png": png()}))
    refused(valid.replace("1-", "3-"), data)
    refused("1", b"not even an archive")


def test_more_bulk_requests_than_allowed_are_refused(predictor: Predictor, png: Png) -> None:
    async def talk() -> tuple[int, dict[str, Any]]:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        first = Caller(engine, predictor, forty(png), max_bulk_requests=1)
        await first.start()
        first.reading.clear()
        task = asyncio.create_task(first.call())
        await until(lambda: bool(first.status) or task.done())
        second = Caller(engine, predictor, forty(png))
        second._app = first._app
        await second.call()
        first.left.set()
        await task
        await engine.drain(grace_s=1)
        return second.status, second.lines[0]

    status, body = asyncio.run(talk())
    assert (status, body["error"]["code"], body["error"]["limit"]) == (429, "too_many_jobs", "1 requests")


def test_the_body_is_not_held_in_memory(predictor: Predictor, png: Png) -> None:
    async def talk() -> list[dict[str, Any]]:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        data = packed_zip({"a.png": png(), "b.txt": bytes(1_500_000)}, zipfile.ZIP_STORED)
        metrics = Metrics(CollectorRegistry())
        plane = DataPlane(engine, api_settings(**LIMITS, max_held_bytes=100_000), metrics)
        app = create_app(plane, metrics)
        await engine.start(lambda: [predictor])
        most = 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal most
            for start in range(0, len(data), 50_000):
                yield data[start : start + 50_000]
                most = max(most, plane.admission.held_bytes)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            with plane.admission.admit(Work.OTHER) as other:
                other.hold(40_000)
                response = await client.post("/score", content=pieces())
        await engine.drain(grace_s=1)
        assert most <= 100_000
        return lines_of(response)[0]

    assert len(asyncio.run(talk())) == 1


class Refusals(Unobserved):
    """Notes why work was refused."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def count_refusal(self, reason: str) -> None:
        self.reasons.append(reason)


def test_bulk_work_waits_for_room_and_that_counts_as_no_refusal(predictor: Predictor, png: Png) -> None:
    refusals = Refusals()

    async def talk() -> str | None:
        engine = Engine(decode_workers=1, batching=Batching(max_queue_images=1), observer=refusals)
        await engine.start(lambda: [predictor])
        limiter, deadline = BulkLimiter(engine, 8), Deadline.after(10)

        async def one() -> str | None:
            async with limiter.place():
                return (await limiter.predict(Call(predictor, deadline, Priority.BULK), png())).label

        labels = await asyncio.gather(*(one() for _ in range(8)))
        assert refusals.reasons == []
        await engine.drain(grace_s=1)
        with pytest.raises(NotReady, match="shutting down"):
            await one()
        return labels[0] if len(set(labels)) == 1 else None

    assert asyncio.run(talk()) == "glioma"
