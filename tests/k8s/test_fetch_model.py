"""The init container that fetches a model: only what has the right hash gets into the pod."""

import hashlib
import importlib.util
import io
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import certifi
import pytest

from brainmri.model.bundle import Bundle
from k8s.checks.builds import FOLDER
from tests.e2e.servers import run_to_the_end

SCRIPT = FOLDER / "components" / "model-volume" / "fetch_model.py"
CONTENT = b"a model" * 1000
RIGHT = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def fetch_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    file = tmp_path / "a.bentomodel"
    file.write_bytes(CONTENT)
    return file


def test_a_file_with_the_right_hash_is_copied(fetch_model: ModuleType, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "home" / "model"
    fetch_model.fetch(str(archive), RIGHT, target)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("source", "sha256", "limit", "said"),
    [
        ("{}", "0" * 64, 10**6, f"has the SHA-256 {RIGHT}; MODEL_SHA256 says 000"),
        ("{}", RIGHT, len(CONTENT) - 1, "more than 6999 bytes"),
        ("{}", RIGHT.upper(), 10**6, "64 hexadecimal digits in lower case"),
        ("{}x", RIGHT, 10**6, "cannot be fetched"),
        ("http://127.0.0.1/model", RIGHT, 10**6, "a path or an https address, not http"),
        ("file://{}", RIGHT, 10**6, "a path or an https address, not file"),
    ],
)
def test_anything_else_leaves_nothing_behind(
    source: str, sha256: str, limit: int, said: str, fetch_model: ModuleType, archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "home" / "model"
    with pytest.raises(fetch_model.Refused, match=said):
        fetch_model.fetch(source.format(archive), sha256, target, limit)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []


def test_the_query_of_a_presigned_address_is_a_secret(
    fetch_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(url: str, timeout: float, context: ssl.SSLContext) -> io.BytesIO:
        assert context.verify_mode == ssl.CERT_REQUIRED
        asked.append(url)
        return io.BytesIO(CONTENT)

    monkeypatch.setattr(fetch_model.urllib.request, "urlopen", answer)
    address = "https://store.example.com/model?X-Signature=secret"
    fetch_model.fetch(address, RIGHT, tmp_path / "model")
    assert asked == [address]
    assert (tmp_path / "model").read_bytes() == CONTENT
    with pytest.raises(fetch_model.Refused) as refused:
        fetch_model.fetch(address, "0" * 64, tmp_path / "other")
    assert "secret" not in str(refused.value)
    assert "https://store.example.com/model has" in str(refused.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed, with its key beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed (Debian: apt-get install --no-install-recommends openssl)")
    file = tmp_path_factory.mktemp("certificate") / "store.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(file.with_suffix(".key")), "-out", str(file)]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    return file


class Answers(BaseHTTPRequestHandler):
    """The object store."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def store(certificate: Path) -> Iterator[str]:
    """Address of the archive in an object store with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}/model"
        finally:
            server.shutdown()
            thread.join()


def test_https_goes_to_whom_the_operators_certificates_vouch_for(store: str, certificate: Path, tmp_path: Path) -> None:
    variables = {"MODEL_SOURCE": store, "MODEL_SHA256": RIGHT}
    # As in the pod: -I ignores Python's own variables, and OpenSSL's are read.
    done = run({**variables, "SSL_CERT_FILE": str(certificate)}, tmp_path / "model")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "model").read_bytes() == CONTENT
    refused = run(variables, tmp_path / "other")
    assert refused.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr
    assert not (tmp_path / "other").exists()


@pytest.fixture
def without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the system or of the operator, as in the recommended image."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda self: None)


@pytest.mark.usefixtures("without_certificates")
def test_an_image_without_certificates_trusts_those_of_certifi(fetch_model: ModuleType) -> None:
    alone = ssl.create_default_context(cafile=certifi.where())
    assert ssl.create_default_context().get_ca_certs() == []
    trusted = fetch_model.trust()
    assert (trusted.verify_mode, trusted.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(alone.get_ca_certs()) > 50
    assert trusted.get_ca_certs(binary_form=True) == alone.get_ca_certs(binary_form=True)


@pytest.mark.usefixtures("without_certificates")
def test_a_store_whose_certificate_is_in_the_file_of_certifi_is_fetched_from(
    fetch_model: ModuleType, store: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(fetch_model.Refused, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_model.fetch(store, RIGHT, tmp_path / "model")
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    fetch_model.fetch(store, RIGHT, tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == CONTENT


def test_an_operators_own_certificates_replace_those_of_certifi(
    fetch_model: ModuleType, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificate.parent / "none"))
    assert len(fetch_model.trust().get_ca_certs()) == 1


def run(variables: dict[str, str], destination: Path) -> subprocess.CompletedProcess[str]:
    """Runs the script as the init container does."""
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(destination)],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_exported_model_goes_the_whole_way_into_the_store(tiny_bundle: Bundle, tmp_path: Path) -> None:
    def brainmri(home: str, *arguments: str) -> str:
        done = run_to_the_end(["brainmri", *arguments], {**os.environ, "BENTOML_HOME": str(tmp_path / home)})
        assert done.returncode == 0, done.stderr
        return done.stdout

    tag = brainmri("registry", "models", "import", str(tiny_bundle.folder)).strip()
    archive = tmp_path / "model.bentomodel"
    brainmri("registry", "models", "export", tag, str(archive))
    arrived = tmp_path / "pod" / "incoming" / "model.bentomodel"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    done = run({"MODEL_SOURCE": str(archive), "MODEL_SHA256": sha256}, arrived)
    assert (done.returncode, done.stderr) == (0, "")
    assert brainmri("pod", "models", "import", str(arrived)).strip() == tag


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MODEL_SOURCE": "/dev/null", "MODEL_SHA256": "0" * 64}, "One of them is wrong.\n"),
        ({"MODEL_SOURCE": "/dev/null"}, "The environment variable 'MODEL_SHA256' is not set.\n"),
    ],
)
def test_a_pod_without_its_model_does_not_start(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    done = run(variables, tmp_path / "model")
    assert done.returncode == 1
    assert done.stderr.endswith(said)
    assert done.stderr.count("\n") == 1


def test_the_hash_that_is_shipped_fits_no_file(fetch_model: ModuleType) -> None:
    lines = (SCRIPT.parent / "model.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    assert values.keys() == {fetch_model.SOURCE, fetch_model.SHA256}
    assert values[fetch_model.SHA256] == "0" * 64
