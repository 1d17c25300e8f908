"""An S3 server for tests: moto's, on a loopback port, in front of which answers can be slow, fail or be throttled."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Respond = Callable[..., Any]

_FAULT = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>planted</Message></Error>"


@dataclass
class ObjectStore:
    """A running server.

    Attributes:
        url: Its address.
        wait_s: Seconds before each answer to the reading of an object.
        fault_every: The first try of every so many objects is answered by a fault; 0 plants none.
        broken: Ends of the keys that are never answered.
        faults: How many answers of each code were planted.
    """

    url: str = ""
    wait_s: float = 0.0
    fault_every: int = 0
    broken: tuple[str, ...] = ()
    faults: Counter[str] = field(default_factory=Counter)
    _seen: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """Leads S3 clients here."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def fault(self, method: str, path: str) -> tuple[str, str] | None:
        """Returns the status and code of the fault that a request is answered with; None for the true answer."""
        if method != "GET" or not path.endswith(".png"):
            return None
        time.sleep(self.wait_s)
        with self._lock:
            first = path not in self._seen
            number = self._seen.setdefault(path, len(self._seen))
            planted = first and self.fault_every and number % self.fault_every == 0
            if not planted and not path.endswith(self.broken or ("\0",)):
                return None
            throttled = number // (self.fault_every or 1) % 2
            status, code = ("503 Slow Down", "SlowDown") if throttled else ("500 Error", "InternalError")
            self.faults[code] += 1
            return status, code


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Runs an S3 server; its buckets are those of the process."""
    store, real = ObjectStore(), DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        fault = store.fault(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        if fault is None:
            answer: Iterable[bytes] = real(environ, respond)
            return answer
        respond(fault[0], [("Content-Type", "application/xml")])
        return [_FAULT.format(code=fault[1]).encode()]

    server = make_server("127.0.0.1", 0, application, threaded=True)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
