"""The programs that build the image, and its health check, without an engine."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from container import byte_code, unused
from tests.e2e.servers import ROOT, free_port


def test_byte_code_is_the_same_whenever_a_source_was_written(tmp_path: Path) -> None:
    source = tmp_path / "source" / "module.py"
    source.parent.mkdir()
    source.write_text("KNOWN = {'one', 'two', 'three'}\n\n\ndef known(name):\n    return name in {'four', 'five'}\n")
    compiled = []
    for number in range(2):
        os.utime(source, (number, number))
        byte_code.write(tmp_path / str(number), source.parent)
        (path,) = (tmp_path / str(number)).rglob("*.pyc")
        compiled.append(path.read_bytes())
    assert compiled[0] == compiled[1]
    # Bit 0: found by the hash of the source; bit 1, which is not set: compared with it at run time.
    assert compiled[0][4:8] == b"\x01\0\0\0"
    assert list(source.parent.iterdir()) == [source]


def test_what_is_unused_goes_and_the_rest_stays(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "arrays" / "tests").mkdir(parents=True)
    for name in ("arrays/tests/test_all.py", "arrays/core.so", "arrays/gpu.so"):
        (packages / name).write_text("")
    patterns = ("**/tests", "arrays/gpu.so")
    unused.remove(tmp_path, patterns)
    assert [path.name for path in (packages / "arrays").iterdir()] == ["core.so"]
    with pytest.raises(SystemExit, match=r"^\*\*/tests: no package has such a file any more\."):
        unused.remove(tmp_path, patterns)


def build(base: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs build.sh with a buildah that only prints what it is told to do, on stderr as the real one does."""
    buildah = folder / "buildah"
    buildah.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&2\n')
    buildah.chmod(0o755)
    environ = {**os.environ, "BASE": base, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    command = [str(ROOT / "container" / "build.sh")]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "base", ["docker.io/library/python:3.11-slim", "python@sha256:abc", f"python@sha256:{64 * 'x'}", f"{64 * 'a'}"]
)
def test_a_base_without_a_digest_is_refused_before_anything_is_built(base: str, tmp_path: Path) -> None:
    done = build(base, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"BASE={base} is not pinned: name it as IMAGE@sha256:DIGEST")


def test_a_program_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    for name in ("bash", "dirname", "git"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    command = [str(ROOT / "container" / "build.sh")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "buildah is not installed, and the image is built with it: apt-get install git buildah mmdebstrap (Debian,"
        " Ubuntu).\n",
    )


def test_a_base_with_a_digest_is_built_on(tmp_path: Path) -> None:
    base = f"docker.io/library/python:3.11-slim@sha256:{64 * 'a'}"
    done = build(base, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"BASE={base}" in done.stderr.splitlines()
    assert "build" in done.stderr.splitlines()


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serves one status at /readyz, and 404 elsewhere; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Writes nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def health(port: int) -> int:
    """Returns the exit status of the health check, as the image calls it."""
    command = [sys.executable, "-I", "-S", str(ROOT / "container" / "healthcheck.py")]
    environ = {**os.environ, "BRAINMRI_HTTP_PORT": str(port)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
def test_the_health_check_says_what_readyz_says(status: int, exit_status: int) -> None:
    with answering(status) as port:
        assert health(port) == exit_status


def test_the_health_check_fails_while_nothing_listens() -> None:
    assert health(free_port()) == 1
