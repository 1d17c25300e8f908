"""docs/tutorials/call.md and the README's request, run as they are written."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.written import Block, blocks, checkout, command, run
from tests.e2e.servers import ROOT, Server, serving

PAGE = "docs/tutorials/call.md"
CURL, BATCH, REQUESTS, HTTPX, FETCH, *LIBRARIES = blocks(PAGE)
README = blocks("README.md")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def verdict(server: Server) -> str:
    """What the server says of the slice that every example sends."""
    files = {"image": (ROOT / "docs" / "slice.jpg").read_bytes()}
    return str(server.client.post("/predict", files=files).json()["verdict"])


def name(block: Block) -> str:
    return f"{block.chapter}-{block.language}"


def require_node(block: Block) -> None:
    if block.language == "javascript" and shutil.which("node") is None:
        pytest.skip("needs Node.js")


@pytest.mark.parametrize("block", [REQUESTS, HTTPX, FETCH, *LIBRARIES, *README[1:]], ids=name)
def test_every_client_prints_the_verdict(block: Block, server: Server, verdict: str, tmp_path: Path) -> None:
    require_node(block)
    assert run(block, checkout(tmp_path), server.environ) == f"{verdict}\n"


@pytest.mark.parametrize("block", [CURL, README[0]], ids=name)
def test_curl_prints_the_whole_answer(block: Block, server: Server, verdict: str, tmp_path: Path) -> None:
    assert json.loads(run(block, checkout(tmp_path), server.environ))["verdict"] == verdict


def test_each_of_several_images_has_its_own_answer(server: Server, verdict: str, tmp_path: Path) -> None:
    good, bad = json.loads(run(BATCH, checkout(tmp_path), server.environ))["results"]
    assert (good["verdict"], bad["error"]["code"]) == (verdict, "image_unreadable")


@pytest.fixture
def busy() -> Iterator[str]:
    """A server that refuses the first two requests, with 429 and with 503; its port."""
    statuses = [429, 503]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Retry-After", "0")
            body = b'{"verdict": "notumor"}'
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Writes nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(listener.server_port)
        listener.shutdown()
        thread.join()
    assert statuses == []


@pytest.mark.parametrize("block", [REQUESTS, HTTPX, FETCH], ids=name)
def test_a_refused_request_is_sent_again(block: Block, busy: str, tmp_path: Path) -> None:
    require_node(block)
    assert run(block, checkout(tmp_path), {"BRAINMRI_HTTP_PORT": busy}) == "notumor\n"


def test_a_refused_image_is_told_in_the_servers_words(server: Server, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "slice.jpg").write_text("no image")
    done = subprocess.run(command(HTTPX, server.environ), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The upload is not a readable image.")
