"""Both interfaces of the protocol on real loopback ports, in a thread of this process: a test can hold the engine."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import uvicorn
import uvloop
from numpy.typing import NDArray

from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.http.app import create_app
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.explanation import open_head
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output, Runtime, RuntimeInfo
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane
from brainmri.open_inference.grpc_server import GrpcServer
from brainmri.settings import Settings
from brainmri.web.auth import KeyRing
from loadtests.server import free_ports

WAIT_S = 30
SIDE = 299
COLOURS = {"glioma": (255, 0, 0), "meningioma": (0, 255, 0), "notumor": (0, 0, 0), "pituitary": (0, 0, 255)}
"""What the tiny bundle answers."""

T = TypeVar("T")


def tensor_of(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Returns one image of each colour, uint8 `[B, 299, 299, 3]`."""
    return np.stack([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours])


def tiny_probabilities(*colours: tuple[int, int, int]) -> NDArray[np.float64]:
    """Returns what the tiny network must answer, computed by hand: softmax of its logits over the temperature 2."""
    logits = np.array([[red / 25.5, green / 25.5, 1, blue / 25.5] for red, green, blue in colours]) / 2
    powers: NDArray[np.float64] = np.exp(logits)
    sums: NDArray[np.float64] = powers.sum(axis=1, keepdims=True)
    return np.divide(powers, sums)


class Gate:
    """A runtime that answers only while its gate is open, and counts what it was asked."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.opened = threading.Event()
        self.opened.set()
        self.entered = threading.Semaphore(0)
        self.images = 0

    def hold(self) -> None:
        """Closes the gate, and forgets what it was asked before."""
        self.opened.clear()
        self.images = 0
        while self.entered.acquire(blocking=False):
            pass

    @property
    def info(self) -> RuntimeInfo:
        return self._runtime.info

    def infer(self, images: NDArray[np.uint8]) -> Output:
        self.images += len(images)
        self.entered.release()
        assert self.opened.wait(WAIT_S)
        return self._runtime.infer(images)


@dataclass
class Served:
    """A running server: its parts, for tests to look at."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    metrics: Metrics
    gates: Sequence[Gate]
    grpc: GrpcServer
    http_port: int

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc.port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_S)

    def begin(self, work: Coroutine[Any, Any, T]) -> Callable[[], T]:
        """Starts a coroutine on the server's event loop; the function that is returned waits for it."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        return lambda: future.result(WAIT_S)

    def sample(self, name: str, **labels: str) -> float:
        """Returns a metric's value, 0 when it has no such series."""
        lines = self.metrics.exposition().decode().splitlines()
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        values = [
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == name and all(label in line for label in wanted)
        ]
        return sum(values)


def eventually(condition: Callable[[], bool]) -> bool:
    """Asks until the condition holds, for a few seconds at most."""
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def free_port() -> int:
    """Returns a port of the loopback interface that was free a moment ago."""
    return free_ports(1)[0]


@contextmanager
def serve(
    *bundles: Bundle, keys: KeyRing | None = None, ready: bool = True, age_s: float = 300, **changes: Any
) -> Iterator[Served]:
    """Serves the bundles until the context ends.

    Args:
        *bundles: The first is the default.
        keys: Who may call over gRPC.
        ready: False leaves the models unloaded.
        age_s: Longest age of a gRPC connection.
        **changes: Settings.
    """
    settings = Settings(grpc_port=free_port(), **changes)
    gates = [Gate(open_runtime(bundle)) for bundle in bundles]
    limits = DecodeLimits(max_bytes=settings.max_image_bytes)
    predictors = [
        Predictor(bundle.contract, gate, limits, head=open_head(bundle))
        for bundle, gate in zip(bundles, gates, strict=True)
    ]
    box: list[Served] = []
    up, stop = threading.Event(), threading.Event()

    async def main() -> None:
        metrics = Metrics()
        batching = Batching(settings.max_batch_size, settings.max_queue_images)
        engine = Engine(2, batching, settings.max_request_images, metrics)
        if ready:
            await engine.start(lambda: predictors)
        plane = DataPlane(engine, settings, metrics)
        server = GrpcServer(plane, metrics, keys, max_connection_age_s=age_s)
        await server.start()
        async with _web(plane, metrics) as port:
            loop = asyncio.get_running_loop()
            box.append(Served(loop, engine, metrics, gates, server, port))
            up.set()
            await loop.run_in_executor(None, stop.wait)
        await server.drain(5)
        await engine.drain(5)

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        assert up.wait(WAIT_S)
        yield box[0]
    finally:
        for gate in gates:
            gate.opened.set()
        stop.set()
        thread.join(WAIT_S)
    assert not thread.is_alive()


@asynccontextmanager
async def _web(plane: DataPlane, metrics: Metrics) -> AsyncIterator[int]:
    """Serves everything over HTTP; yields the port."""
    app = create_app(plane, metrics)
    listener = socket.create_server(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(web.serve([listener]))
    yield int(listener.getsockname()[1])
    web.should_exit = True
    await serving
