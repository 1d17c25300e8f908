"""The HTTP interface as clients that we did not write, and sockets that misbehave, see it: a real server."""

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException

from tests.e2e.servers import serving

COLOURS = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving(tmp_path_factory.mktemp("server"), upload_idle_timeout_s=1) as started:
        yield started.client


@pytest.fixture
def files(tmp_path: Path, png: Callable[..., bytes]) -> dict[str, Path]:
    """One file for each label."""
    paths = {label: tmp_path / f"{label}.png" for label in COLOURS}
    for label, path in paths.items():
        path.write_bytes(png(COLOURS[label]))
    return paths


@pytest.fixture
def trap() -> Iterator[tuple[str, list[str]]]:
    """A listener that notes who connects; its URL, and the first line of each connection."""
    asked: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode())

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        thread = Thread(target=listener.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listener.server_address[1]}/image.png", asked
        listener.shutdown()
        thread.join()


def begin_upload(server: httpx.Client, length: int, **headers: str) -> HTTPConnection:
    """Sends the headers of a prediction and returns when the server asks for the body."""
    connection = begin_request(server, length, **headers)
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


def begin_request(server: httpx.Client, length: int, **headers: str) -> HTTPConnection:
    connection = HTTPConnection(server.base_url.host, server.base_url.port or 80, timeout=20)
    connection.putrequest("POST", "/predict")
    fixed = {"Content-Type": "image/png", "Content-Length": str(length), "Expect": "100-continue"}
    for name, value in {**fixed, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection


@contextmanager
def bentoml_client(server: httpx.Client) -> Iterator[bentoml.SyncHTTPClient]:
    with bentoml.SyncHTTPClient(str(server.base_url)) as client, client._temp_dir:  # which it leaves behind
        yield client


class TestBentoMLClient:
    @pytest.fixture
    def client(self, server: httpx.Client) -> Iterator[bentoml.SyncHTTPClient]:
        with bentoml_client(server) as client:
            yield client

    def test_it_predicts_from_a_path_and_from_an_open_file(
        self, client: bentoml.SyncHTTPClient, files: dict[str, Path]
    ) -> None:
        for label, path in files.items():
            answer = client.predict(image=path)
            assert (answer["label"], answer["model"]["version"]) == (label, "0.0.1")
        with files["glioma"].open("rb") as file:
            assert client.request("POST", "/predict", files={"image": file}).json()["label"] == "glioma"

    def test_it_predicts_several_in_order(self, client: bentoml.SyncHTTPClient, files: dict[str, Path]) -> None:
        answer = client.predict_batch(images=[files["pituitary"], files["notumor"]])
        assert [result["label"] for result in answer["results"]] == ["pituitary", "notumor"]

    def test_an_error_has_our_sentence(self, client: bentoml.SyncHTTPClient, tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("text")
        with pytest.raises(BentoMLException, match="image_unreadable"):
            client.predict(image=tmp_path / "text.png")

    def test_a_url_in_place_of_a_file_is_refused_and_not_fetched(
        self, client: bentoml.SyncHTTPClient, trap: tuple[str, list[str]]
    ) -> None:
        url, asked = trap
        with pytest.raises(BentoMLException, match="malformed_request"):
            client.predict(image=url)
        assert asked == []


def test_no_url_in_any_field_is_fetched(server: httpx.Client, trap: tuple[str, list[str]]) -> None:
    url, asked = trap
    encoded = base64.b64encode(url.encode()).decode()
    text = {"name": "image", "datatype": "BYTES", "shape": [1, 1]}
    requests = [
        ("/predict", {"data": {"image": url}}),
        ("/predict", {"files": {"image": (url, url.encode())}}),
        ("/predict", {"json": {"image": url}}),
        ("/predict", {"content": url.encode(), "headers": {"content-type": "image/png"}}),
        ("/predict?image=" + url, {"content": url.encode(), "headers": {"content-type": "text/plain"}}),
        ("/predict_batch", {"files": [("images", (None, url))]}),
        ("/predict_batch", {"json": {"images": [url]}}),
        ("/v1/models/brain_mri:predict", {"json": {"instances": [url]}}),
        ("/v1/models/brain_mri:predict", {"json": {"instances": [{"b64": url}, {"image": url}]}}),
        ("/v1/models/brain_mri:predict", {"json": {"instances": [{"b64": encoded}]}}),
        ("/v2/models/brain_mri_image/infer", {"json": {"inputs": [{**text, "data": [url]}]}}),
        ("/v2/models/brain_mri_image/infer", {"json": {"inputs": [{**text, "data": [encoded]}]}}),
        ("/probabilities", {"json": {"images": url}}),
        ("/probabilities", {"content": url.encode(), "headers": {"content-type": "text/plain"}}),
    ]
    for path, request in requests:
        response = server.post(path, **request)  # type: ignore[arg-type]
        assert 400 <= response.status_code < 500, (path, request, response.text)
    assert asked == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
class TestCurl:
    def run(self, server: httpx.Client, path: str, *arguments: str) -> dict[str, object]:
        command = [
            "curl",
            "--silent",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            *arguments,
            str(server.base_url.join(path)),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return dict(json.loads(done.stdout))

    def test_a_form_of_one_file(self, server: httpx.Client, files: dict[str, Path]) -> None:
        assert self.run(server, "/predict", "-F", f"image=@{files['glioma']}")["label"] == "glioma"

    def test_a_form_of_several_files(self, server: httpx.Client, files: dict[str, Path]) -> None:
        forms = [argument for path in files.values() for argument in ("-F", f"images=@{path}")]
        results = self.run(server, "/predict_batch", *forms)["results"]
        assert isinstance(results, list)
        assert [result["label"] for result in results] == list(files)

    def test_the_file_itself_in_pieces(self, server: httpx.Client, files: dict[str, Path]) -> None:
        headers = ["-H", "Content-Type: image/png", "-H", "Transfer-Encoding: chunked"]
        answer = self.run(server, "/predict", *headers, "--data-binary", f"@{files['pituitary']}")
        assert answer["label"] == "pituitary"

    def test_base64_in_json(self, server: httpx.Client, files: dict[str, Path], tmp_path: Path) -> None:
        body = tmp_path / "body.json"
        encoded = base64.b64encode(files["meningioma"].read_bytes()).decode()
        body.write_text(json.dumps({"instances": [{"b64": encoded}]}))
        predictions = self.run(server, "/v1/models/brain_mri:predict", "-d", f"@{body}")["predictions"]
        assert isinstance(predictions, list)
        assert predictions[0]["label"] == "meningioma"


def test_an_upload_that_pauses_is_answered_408_and_cut_off(server: httpx.Client) -> None:
    with closing(begin_upload(server, 100)) as connection:
        connection.send(b"x")
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        assert (response.status, error["code"], error["limit"]) == (408, "upload_stalled", "1 s")
        assert response.getheader("connection") == "close"


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_is_sent(server: httpx.Client) -> None:
    with closing(begin_request(server, 999_999_999)) as connection:
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, "image_too_large")


def test_the_connection_goes_on_after_a_refused_body(server: httpx.Client, png: Callable[..., bytes]) -> None:
    connection = HTTPConnection(server.base_url.host, server.base_url.port or 80, timeout=20)
    with closing(connection):
        for body, expected in ((b"x" * 2_000_000, 413), (png((255, 0, 0)), 200)):
            connection.request("POST", "/predict", body, {"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            assert response.status == expected


def test_a_client_that_leaves_while_it_uploads_costs_nothing_lasting(
    server: httpx.Client, png: Callable[..., bytes]
) -> None:
    for _ in range(20):
        connection = begin_upload(server, 100_000)
        connection.send(b"x" * 50_000)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes with a reset
        connection.close()
    assert server.post("/predict", files={"image": png((0, 0, 255))}).json()["label"] == "pituitary"


def test_every_method_that_bentomls_client_finds_is_in_the_document(server: httpx.Client) -> None:
    routes = server.get("/schema.json").json()["routes"]
    assert {route["name"] for route in routes} == {"predict", "predict_batch", "probabilities"}
    paths = server.get("/docs.json").json()["paths"]
    assert all("post" in paths[route["route"]] for route in routes)


def test_a_deadline_is_kept_over_the_wire(server: httpx.Client) -> None:
    begun = time.monotonic()
    with closing(begin_upload(server, 100, **{"X-Request-Timeout-Ms": "300"})) as connection:
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["limit"]) == (504, "0.3 s")
    assert time.monotonic() - begun >= 0.3
