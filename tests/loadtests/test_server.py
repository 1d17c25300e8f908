"""Tests of starting and ending a server, with small programs in place of the service."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from loadtests.server import Launch, ServerFailed, answers, free_ports, running

# Answers 200, has a child of its own, and ends on SIGTERM only where it is told to.
PROGRAM = """
import http.server, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
if sys.argv[2] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def launch(folder: Path, code: str, *arguments: str, stop_s: float = 60) -> Launch:
    (port,) = free_ports(1)
    command = [sys.executable, "-c", code, str(port), *arguments]
    return Launch(command, os.environ, folder, folder / "log", port, "/", stop_s=stop_s)


@pytest.mark.parametrize(("manner", "stop_s", "status"), [("polite", 60, -15), ("stubborn", 0.2, -9)])
def test_a_server_answers_within_the_block_and_is_gone_with_its_children_after_it(
    tmp_path: Path, manner: str, stop_s: float, status: int
) -> None:
    how = launch(tmp_path, PROGRAM, manner, stop_s=stop_s)
    with running(how) as process:
        assert answers(how.port, "/")
        assert not answers(how.port, "/missing")
        child = psutil.Process(int(how.log.read_text().split()[0]))
    assert process.returncode == status
    child.wait(60)
    assert not answers(how.port, "/")


def test_a_server_that_ends_before_it_is_ready_is_told_with_its_log(tmp_path: Path) -> None:
    how = launch(tmp_path, "print('no model'); raise SystemExit(3)")
    with pytest.raises(ServerFailed, match=r"The server ended with 3\.\nno model"), running(how):
        pass


def test_ports_given_at_once_differ() -> None:
    assert len(set(free_ports(20))) == 20
