"""Two real servers in one home: neither takes anything from the other."""

from collections.abc import Callable
from pathlib import Path

import pytest

from brainmri.lifecycle.state import ServerState
from tests.e2e.servers import Server, serving
from tests.tiny import write_tiny_bundle

pytestmark = pytest.mark.slow

TAG = "brain_mri_xception:0.0.2"
PNG = {"Content-Type": "image/png"}


def answered(server: Server) -> float:
    """Returns how many images a server says that it has answered."""
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("brainmri_predictions_total{"))


def version(server: Server) -> str:
    return str(server.client.get("/model").json()["version"])


def test_each_keeps_its_counters_and_its_activated_model(tmp_path: Path, png: Callable[..., bytes]) -> None:
    image = png((255, 0, 0))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "first") as first:
        write_tiny_bundle(tmp_path / "0.0.2", tmp_path, version="0.0.2")
        assert first.command("models", "import", str(tmp_path / "0.0.2")).returncode == 0
        assert first.command("models", "activate", TAG).returncode == 0
        first.until(lambda: version(first) == "0.0.2", "the first server answers with the activated model")
        for _ in range(3):
            first.client.post("/predict", content=image, headers=PNG).raise_for_status()
        assert answered(first) == 3
        for name in ("home", "models"):
            (tmp_path / "second" / name).symlink_to(tmp_path / "first" / name)
        with serving(tmp_path / "second") as second:
            assert (version(first), version(second)) == ("0.0.2", "0.0.1")
            second.client.post("/predict", content=image, headers=PNG).raise_for_status()
            assert (answered(first), answered(second)) == (3, 1)
            unnamed = {name: value for name, value in first.environ.items() if name != "BRAINMRI_HTTP_PORT"}
            which = Server(first.folder, unnamed, first.process, first.client).command("models", "activate", TAG)
            assert which.returncode == 2
            for server in (first, second):
                assert f"{ServerState(server.folder / 'home', server.client.base_url.port or 0)}" in which.stderr
            port = str(second.client.base_url.port)
            assert first.command("models", "activate", TAG, "--port", port).returncode == 0
            second.until(lambda: version(second) == "0.0.2", "the second server answers with the activated model")
        first.client.post("/predict", content=image, headers=PNG).raise_for_status()
        assert (answered(first), version(first)) == (4, "0.0.2")
