"""The real service, started as a user starts it, with the CPU time and memory that it takes."""

import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes
from loadtests.server import Service, answers, serving


class Server(Service):
    """The service while it runs, with what it takes."""

    def get(self, path: str) -> str:
        """Returns the text at a path of the HTTP interface."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def ready(self) -> bool:
        """Tells whether it accepts predictions."""
        return answers(self.http_port, "/readyz")

    def cpu_s(self) -> float:
        """Returns the CPU time that it has taken so far, in seconds."""
        return processes.cpu_s(self.pid)

    def loop_cpu_s(self) -> float:
        """Returns the CPU time that its event loop has taken so far, in seconds."""
        return processes.main_threads_cpu_s(self.pid)

    def resident_mib(self) -> float:
        """Returns its resident memory, all processes together, in MiB."""
        return processes.resident_bytes(self.pid) / 2**20


@contextmanager
def serve(bundles: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """The service with the released bundle for the duration of a `with` block.

    Args:
        bundles: Folder of released bundles.
        settings: Further variables for its environment.

    Raises:
        RuntimeError: It does not become ready, or does not end in good order; the message holds the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="brainmri-benchmark-") as folder:
        home = Path(folder)
        chosen = {"BRAINMRI_BUNDLES": str(bundles.resolve()), **(settings or {})}
        with serving(home, home / "log", chosen) as service:
            yield Server(service.process, service.http_port, service.grpc_port)
