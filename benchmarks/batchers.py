"""Our batcher and BentoML's dispatcher, in one process, with the same network and the same arrivals.

python -m benchmarks.batchers --rounds 5 --seconds 4
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import uvloop
from bentoml._internal.marshal.dispatcher import CorkDispatcher
from numpy.typing import NDArray

from benchmarks.load import arrivals
from benchmarks.options import DEFAULT_BUNDLE, WriteTo
from benchmarks.report import DEFAULT_FOLDER, Report, table
from benchmarks.summary import Spread, percentile, ratios
from benchmarks.traffic import OpenLoop
from brainmri.batching.batcher import Batcher
from brainmri.batching.call import Call, Deadline
from brainmri.batching.schedule import Batching
from brainmri.imaging import SIDE, DecodeLimits
from brainmri.model.bundle import load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.settings import Settings

MAX_BATCH_SIZE = 8
TIMEOUT_S = 60.0
"""BentoML's default for the longest wait."""

QUIET_LOAD, BURSTY_LOAD = 0.1, 0.5
"""Share of the capacity that arrives."""

BURST = 16
CALLERS = 32
OURS, BENTOML = "ours", "BentoML's"
WARM_UP = 30
"""Requests one after the other, in which BentoML's dispatcher learns how long the network takes."""

Serve = Callable[[NDArray[np.uint8]], Awaitable[object]]


class Timed:
    """A network that only takes time, and leaves the CPU to the batchers.

    Args:
        call_ms: What a batch takes, however small.
        image_ms: What each image adds.
    """

    def __init__(self, call_ms: float, image_ms: float) -> None:
        self.info = RuntimeInfo("openvino-timed", "timed", 1)
        self._call_ms, self._image_ms = call_ms, image_ms

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Sleeps, and answers with zeros."""
        time.sleep((self._call_ms + self._image_ms * len(images)) / 1e3)
        return Output(np.zeros((len(images), 4), np.float32), np.zeros((len(images), 1), np.float32))


@dataclass
class Seen:
    """What the callers of one scenario saw: latencies in milliseconds, and how many got no answer."""

    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: int = 0

    async def note(self, work: Awaitable[object]) -> None:
        """Waits for one answer."""
        begun = time.perf_counter()
        try:
            await work
        except Exception:  # noqa: BLE001 -- counted, whatever it was
            self.failed += 1
        else:
            self.latencies_ms.append((time.perf_counter() - begun) * 1e3)


def main(
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures everything once.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of one scenario.")] = 4,
    network: Annotated[str, typer.Option(help="`cpu` and `accelerator` only take time; or a bundle's folder.")] = "cpu",
    output: WriteTo = DEFAULT_FOLDER / "batchers",
) -> None:
    """Compare the two batchers: quiet, bursty, saturated, and quiet again after that."""
    predictor = open_network(network)
    capacity = capacity_per_s(predictor)
    seen: dict[str, dict[str, list[Seen]]] = {OURS: {}, BENTOML: {}}
    for number in range(rounds):
        for name, batcher in sorted({OURS: ours, BENTOML: bentomls}.items(), reverse=bool(number % 2)):
            for scenario, result in uvloop.run(measure(batcher, predictor, capacity, seconds, number)).items():
                seen[name].setdefault(scenario, []).append(result)
    page = report(seen, {"network": network, "capacity": f"{capacity:.1f} images/s", "scenario": f"{seconds:g} s"})
    page.write(output)
    typer.echo(page.markdown())


def open_network(network: str) -> Predictor:
    """Returns a predictor around what `--network` names."""
    if network in ("cpu", "accelerator"):
        # Like this network at 299 pixels on two cores, and like a GPU, where company costs little.
        runtime = Timed(2, 25) if network == "cpu" else Timed(8, 0.5)
        contract = load_bundle(DEFAULT_BUNDLE).contract
        return Predictor(contract, runtime, DecodeLimits())
    bundle = load_bundle(Path(network))
    return Predictor.open(bundle, ModelOptions(threads=Settings().inference_threads()))


def capacity_per_s(predictor: Predictor) -> float:
    """Returns the images a second of full batches, after one of each size."""
    for size in range(1, MAX_BATCH_SIZE + 1):
        predictor.infer(np.zeros((size, SIDE, SIDE, 3), np.uint8))
    begun = time.perf_counter()
    for _ in range(3):
        predictor.infer(np.zeros((MAX_BATCH_SIZE, SIDE, SIDE, 3), np.uint8))
    return 3 * MAX_BATCH_SIZE / (time.perf_counter() - begun)


@asynccontextmanager
async def ours(predictor: Predictor) -> AsyncIterator[Serve]:
    """Our batcher."""
    batcher = Batcher(Batching(max_batch_size=MAX_BATCH_SIZE))
    batcher.start()
    yield lambda images: batcher.infer(Call(predictor, Deadline.after(TIMEOUT_S)), images)
    await batcher.drain(TIMEOUT_S)


@asynccontextmanager
async def bentomls(predictor: Predictor) -> AsyncIterator[Serve]:
    """BentoML's dispatcher, called as its server calls it for a `batchable=True` endpoint."""

    def fail() -> None:
        raise TimeoutError

    dispatcher: CorkDispatcher[Any, Any] = CorkDispatcher(
        max_latency_in_ms=int(TIMEOUT_S * 1e3),
        max_batch_size=MAX_BATCH_SIZE,
        fallback=fail,
        get_batch_size=len,
        batch_dim=(0, 0),
    )
    with ThreadPoolExecutor(1) as stream:

        async def run(batches: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(stream, predictor.infer, np.concatenate(batches))
            return np.split(result.logits, np.cumsum([len(batch) for batch in batches])[:-1])

        yield dispatcher(run)
        dispatcher.shutdown()


async def measure(
    batcher: Callable[[Predictor], AbstractAsyncContextManager[Serve]],
    predictor: Predictor,
    capacity: float,
    seconds: float,
    seed: int,
) -> dict[str, Seen]:
    """Runs the scenarios one after the other on a fresh batcher."""
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    async with batcher(predictor) as serve:
        for _ in range(WARM_UP):
            await serve(image)
        quiet = list(arrivals(OpenLoop(QUIET_LOAD * capacity, seed), 0, seconds))
        bursts = [time_s for time_s in steps(BURST / (BURSTY_LOAD * capacity), seconds) for _ in range(BURST)]
        return {
            "quiet": await at_times(serve, image, quiet),
            "bursty": await at_times(serve, image, bursts),
            "saturated": await saturated(serve, image, seconds),
            "after a burst": await at_times(serve, image, quiet),
        }


def steps(interval_s: float, seconds: float) -> Iterator[float]:
    """Yields equally spaced times."""
    for number in range(max(1, int(seconds / interval_s))):
        yield number * interval_s


async def at_times(serve: Serve, image: NDArray[np.uint8], times_s: Sequence[float]) -> Seen:
    """Sends a request at each time, whether or not earlier ones are answered."""
    seen, begun = Seen(), time.perf_counter()
    requests = []
    for at in times_s:
        if (wait_s := begun + at - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        requests.append(asyncio.ensure_future(seen.note(serve(image))))
    await asyncio.gather(*requests)
    seen.seconds = time.perf_counter() - begun
    return seen


async def saturated(serve: Serve, image: NDArray[np.uint8], seconds: float) -> Seen:
    """Lets callers ask again as soon as they are answered."""
    seen, begun = Seen(), time.perf_counter()

    async def caller() -> None:
        while time.perf_counter() - begun < seconds:
            await seen.note(serve(image))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    seen.seconds = time.perf_counter() - begun
    return seen


def report(seen: dict[str, dict[str, list[Seen]]], setting: dict[str, str]) -> Report:
    """Returns the page: medians of the rounds, and ratios within them."""
    measures: dict[str, Callable[[Seen], float]] = {
        "median ms": lambda one: percentile(one.latencies_ms, 50),
        "p95 ms": lambda one: percentile(one.latencies_ms, 95),
        "images/s": lambda one: len(one.latencies_ms) / one.seconds,
    }
    rows, numbers = [], []
    for scenario in seen[OURS]:
        for measure_name, measured in measures.items():
            mine, theirs = ([measured(one) for one in seen[name][scenario]] for name in (OURS, BENTOML))
            spreads = Spread.of(mine), Spread.of(theirs), Spread.of(ratios(mine, theirs))
            rows.append([scenario, measure_name, *(one.text(1) for one in spreads[:2]), spreads[2].text(2)])
            numbers.append({"scenario": scenario, "measure": measure_name, OURS: mine, BENTOML: theirs})
    page = Report("batchers", setting, {"measurements": numbers})
    page.add("Medians of the rounds, their range in brackets; the ratio is taken within each round.")
    page.add(*table(["scenario", "measure", OURS, BENTOML, "ours / BentoML's"], rows))
    failed = {name: sum(one.failed for all_of in seen[name].values() for one in all_of) for name in seen}
    page.add(f"Without an answer: {failed[OURS]} of ours, {failed[BENTOML]} of BentoML's.")
    return page


if __name__ == "__main__":
    typer.run(main)
