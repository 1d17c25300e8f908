"""docs/tutorials/operate.md, run as it is written; what needs a container, a cluster or nginx has tests of its own."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from brainmri.lifecycle.listener import page_url
from loadtests.record import read_record
from tests.docs.written import blocks, checkout, command, run
from tests.e2e.servers import ROOT, START_S, environment
from tests.tiny import write_tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_S)]


def test_the_whole_tutorial(tmp_path: Path) -> None:
    add_key, serve, ready, predict, metrics, load, upgrade = blocks("docs/tutorials/operate.md")
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    environ = environment(tmp_path, max_image_bytes=2**20) | {"PYTHONPATH": str(ROOT)}
    work = tmp_path / "work"
    work.mkdir()
    checkout(work)
    (work / "models").unlink()
    (work / "models").symlink_to(tmp_path / "models")
    run(add_key, work, environ)

    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command(serve, environ), cwd=work, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        announced = f"Ready: open {page_url('127.0.0.1', int(environ['BRAINMRI_HTTP_PORT']))}"
        _until_written(log, announced, server)
        assert run(ready, work, environ).endswith("ready\n")
        assert json.loads(run(predict, work, environ))["model"]["version"] == "0.0.1"
        assert 'route="/predict"' in run(metrics, work, environ)

        # How fast it is says nothing here: only whether every request was answered rightly.
        subprocess.run(command(load, environ), cwd=work, env=environ, capture_output=True, check=False, timeout=120)
        record = read_record(work / "runs" / "loadtests" / "smoke" / "record.json")
        assert (record.faults, record.ended_early) == ({}, "")
        assert {kind for _, kind in record.tallies} == set(record.kinds)
        assert len(record.kinds) == 5

        assert "brain_mri_xception:0.0.1" in run(upgrade, work, environ)
        assert log.read_text().count(announced) == 1
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _until_written(log: Path, sentence: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(START_S * 5):
        if sentence in log.read_text():
            return
        assert server.poll() is None, log.read_text()
        try:
            server.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail(f"The log never said {sentence!r}.\n{log.read_text()}")
