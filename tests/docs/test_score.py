"""docs/tutorials/score.md, run as it is written."""

import csv
import json
import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from tests.docs.written import blocks, checkout, run
from tests.e2e.servers import serving


def test_the_whole_tutorial(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "server"
    work.mkdir()
    folder.mkdir()
    pack, score, show, resume, merge, over_http, as_job = blocks("docs/tutorials/score.md")
    with serving(folder, jobs_dir=str(folder / "jobs"), max_image_bytes=2**20) as server:
        run(pack, checkout(work), server.environ)
        with zipfile.ZipFile(work / "scans.zip") as archive:
            names = sorted(archive.namelist())
        assert f"{len(names)} rows, 0 failed" in run(score, work, server.environ)
        with (work / "results" / "results.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert sorted(row["path"].rpartition("/")[2] for row in rows) == names
        assert (work / "results" / "report.html").read_text().startswith("<!doctype html>")
        assert run(show, work, server.environ).count("\n") == 3
        assert f"{len(names)} rows, 0 failed" in run(resume, work, server.environ)
        run(merge, work, server.environ)
        written = [json.loads(line) for line in (work / "results" / "results.jsonl").read_text().splitlines()]
        assert [row["label"] for row in written] == [row["label"] or None for row in rows]

        summary = json.loads(run(over_http, work, server.environ))["summary"]
        assert (summary["images"], summary["complete"]) == (len(names), True)
        run(as_job, work, server.environ)
        assert pq.read_table(work / "rows.parquet").num_rows == len(names)
