"""The example that ends TLS in front of the service, run by a real nginx."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from brainmri.open_inference.grpc_server import HEALTH_SERVICE_NAME
from tests.e2e.servers import ROOT, Server, free_port, serving

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
OPENSSL = shutil.which("openssl") or "openssl"
EXAMPLE = ROOT / "container" / "tls" / "nginx.conf"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx"),
]


@dataclass(frozen=True)
class Proxy:
    """A running nginx, and what its clients need."""

    folder: Path
    http_port: int
    grpc_port: int

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def client(self, certificate: str | None) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if certificate is not None:
            context.load_cert_chain(self.folder / f"{certificate}.crt", self.folder / f"{certificate}.key")
        return httpx.Client(
            base_url=f"https://localhost:{self.http_port}", verify=context, http2=False, trust_env=False, timeout=30
        )

    def healthy(self, certificate: str | None) -> bytes:
        """Asks for health over gRPC; gives the answer as bytes."""
        own = (
            {}
            if certificate is None
            else {"private_key": self.read(f"{certificate}.key"), "certificate_chain": self.read(f"{certificate}.crt")}
        )
        credentials = grpc.ssl_channel_credentials(self.read("ca.crt"), **own)
        with grpc.secure_channel(f"localhost:{self.grpc_port}", credentials) as channel:
            answer: bytes = channel.unary_unary(f"/{HEALTH_SERVICE_NAME}/Check")(b"", timeout=20)
            return answer


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run([OPENSSL, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def make_certificates(folder: Path) -> None:
    """Writes ca, server and client, signed by it, and `stranger`, which another authority signed."""
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "stranger-ca"):
        openssl(folder, *new, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "stranger-ca")):
        signed = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-addext", "subjectAltName=DNS:localhost")
        openssl(folder, *new, *signed, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", "/CN=localhost")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("behind"), allowed_hosts="localhost,127.0.0.1") as running:
        yield running


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "tmp").mkdir()
    make_certificates(folder)
    proxy = Proxy(folder, free_port(), free_port())
    text = EXAMPLE.read_text()
    for written, used in (
        ("127.0.0.1:3000", f"127.0.0.1:{server.environ['BRAINMRI_HTTP_PORT']}"),
        ("127.0.0.1:3001", server.grpc_address),
        ("listen 8443 ", f"listen 127.0.0.1:{proxy.http_port} "),
        ("listen 8444 ", f"listen 127.0.0.1:{proxy.grpc_port} "),
    ):
        assert text.count(written) == 1
        text = text.replace(written, used)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", "nginx.conf"])
    try:
        with proxy.client("client") as client:
            for _ in range(300):
                try:
                    client.get("/livez")
                    break
                except httpx.TransportError:
                    assert process.poll() is None
                    time.sleep(0.1)
        yield proxy
    finally:
        process.terminate()
        process.wait(30)


def test_a_client_with_a_certificate_is_answered_over_http(proxy: Proxy, png: Callable[..., bytes]) -> None:
    with proxy.client("client") as client:
        response = client.post("/predict", content=png((255, 0, 0)), headers={"Content-Type": "image/png"})
        assert (response.status_code, response.json()["label"]) == (200, "glioma")
        too_large = client.post("/predict", content=bytes(400_000), headers={"Content-Type": "image/png"})
        assert too_large.json()["error"]["code"] == "image_too_large"


def test_a_client_with_a_certificate_is_answered_over_grpc(proxy: Proxy) -> None:
    # SERVING, https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto
    assert proxy.healthy("client") == b"\x08\x01"


@pytest.mark.parametrize(
    ("certificate", "told"),
    [(None, "No required SSL certificate was sent"), ("stranger", "The SSL certificate error")],
)
def test_a_client_without_a_certificate_of_the_authority_reaches_neither(
    proxy: Proxy, server: Server, certificate: str | None, told: str
) -> None:
    before = server.log.count("POST /predict")
    with proxy.client(certificate) as client:
        response = client.post("/predict", content=b"x")
    assert response.status_code == 400
    assert told in response.text
    with pytest.raises(grpc.RpcError) as refused:
        proxy.healthy(certificate)
    # What gRPC makes of nginx's 400.
    assert refused.value.code() == grpc.StatusCode.INTERNAL
    assert server.log.count("POST /predict") == before


def test_plain_text_is_not_spoken(proxy: Proxy) -> None:
    response = httpx.get(f"http://localhost:{proxy.http_port}/livez", trust_env=False)
    assert response.status_code == 400
    assert "plain HTTP request was sent to HTTPS port" in response.text
