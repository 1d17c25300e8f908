import asyncio
import gzip
import sys
import tarfile
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.model.predictor import Predictor
from tests.application import Ask, Service, code_of
from tests.batching.stand_in import until
from tests.bulk.hostile_archives import (
    END,
    MIB,
    extended,
    global_headers,
    member,
    record,
    sparse_map,
    zip_with_far_offset,
    zip_with_offset,
)
from tests.bulk.test_archives import packed_zip
from tests.http.test_score import Caller, Png, lines_of, send


def damaged_zip(png: Png) -> bytes:
    data = bytearray(packed_zip({"a.png": png(), "b.png": png()}, 0))
    data[data.index(b"IDAT")] ^= 1
    return bytes(data)


ARCHIVES: dict[str, Callable[[Png], bytes]] = {
    "sparse map": lambda _: sparse_map(1_000_000),
    "global header": lambda _: global_headers(2000, 100),
    "a name for all": lambda _: extended(record("path", b"b.png"), tarfile.XGLTYPE) + member(b"") + END,
    "a record without an end": lambda _: extended(b"20 path=a\n") + member(b"") + END,
    "offset behind the end": lambda png: zip_with_offset({"a.png": png(), "b.png": png()}, 2**31),
    "offset of no file": lambda png: zip_with_far_offset(png(), 2**63),
    "checksum": damaged_zip,
    "cut off": lambda png: packed_zip({"a.png": png()})[:-30],
    "no archive": lambda png: png(),
    "names": lambda png: packed_zip({"../a.png": png()}),
    "large member": lambda _: packed_zip({"a.png": bytes(MIB)}),
    "empty member": lambda png: packed_zip({"a.png": b"", "b.png": png()}),
}


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    return [(row["path"], row["status"], row["error_code"]) for row in rows]


@pytest.mark.parametrize("make", ARCHIVES.values(), ids=ARCHIVES)
def test_score_and_jobs_say_the_same_of_a_broken_archive(
    ask: Ask, serve: Callable[..., None], png: Png, make: Callable[[Png], bytes]
) -> None:
    data = make(png)
    scored = send(ask, data)

    async def visit(service: Service) -> None:
        made = await service.client.post("/jobs", content=data)
        if scored.status_code != 200:
            assert (made.status_code, code_of(made)) == (scored.status_code, code_of(scored))
            assert made.json()["error"]["message"] == scored.json()["error"]["message"]
            return
        job = await service.until(made.json()["id"], "succeeded", "failed")
        rows, summary = lines_of(scored)
        assert (job["images"], job["failed"]) == (summary["images"], summary["failed"])
        assert told(await service.rows(job["id"])) == told(rows)

    serve(visit)


def test_a_member_outside_of_the_archive_is_a_row_and_the_others_are_answered(ask: Ask, png: Png) -> None:
    rows, summary = lines_of(send(ask, zip_with_offset({"a.png": png(), "b.png": png()}, 2**31)))
    assert told(rows) == [("a.png", "ok", None), ("b.png", "failed", "image_unreadable")]
    assert summary["complete"] is True


def test_a_disk_that_fails_under_an_archive_is_a_row_for_each_image_that_it_hides(
    ask: Ask, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("brainmri.bulk.archives.zip.ZipArchive.read", fail)
    rows, summary = lines_of(send(ask, packed_zip({"a.png": png(), "b.png": png()})))
    assert told(rows) == [("a.png", "failed", "source_unreadable"), ("b.png", "failed", "source_unreadable")]
    assert (summary["complete"], summary["failed"]) == (True, 2)


def busy(kind: str) -> int:
    """Returns how many threads of a kind are inside of this project's code."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    stacks = [
        traceback.extract_stack(frame)
        for ident, frame in sys._current_frames().items()
        if names.get(ident, "").startswith(kind)
    ]
    return sum(any("/brainmri/" in call.filename for call in stack) for stack in stacks)


def slow_to_list() -> bytes:
    """Returns a `.tar.gz` that holds 400 MB of zeros, and enough noise that it could be images."""
    noise = np.random.default_rng(7).bytes(5 * MIB)
    return gzip.compress(member(noise, "noise.png") + member(bytes(400 * MIB), "zeros.png") + END, 1)


@pytest.mark.parametrize("path", ["/score", "/jobs"])
def test_the_listing_of_an_archive_ends_with_its_request(predictor: Predictor, path: str, tmp_path: Path) -> None:
    data = slow_to_list()
    (tmp_path / "jobs").mkdir()

    async def talk() -> float:
        engine = Engine(decode_workers=1, batching=Batching(max_batch_size=2))
        limits = {"max_archive_bytes": 10 * MIB, "jobs_dir": tmp_path / "jobs"}
        callers = [Caller(engine, predictor, data, path, **limits) for _ in range(4)]
        await callers[0].start()
        tasks = [asyncio.create_task(caller.call()) for caller in callers]
        await until(lambda: busy("archive") == 4)
        begun = time.perf_counter()
        for caller in callers:
            caller.left.set()
        await asyncio.wait(tasks)
        took = time.perf_counter() - begun
        assert busy("archive") == 0
        assert [caller.status for caller in callers] == [499] * 4
        assert await engine.drain(grace_s=0.5)
        return took

    tracemalloc.start()
    try:
        assert asyncio.run(talk()) < 2
        assert tracemalloc.get_traced_memory()[1] < 60 * MIB
    finally:
        tracemalloc.stop()
    assert list((tmp_path / "jobs").glob(".incoming-*")) == []
