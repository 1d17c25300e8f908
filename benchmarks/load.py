"""The load generator: a process of its own, closed and open loops, bounded in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import uvloop

from benchmarks.answers import READERS
from benchmarks.grpc_client import GrpcClient
from benchmarks.http_client import HttpClient, Reply
from benchmarks.traffic import LEFT, LOST, UNANSWERED, ClosedLoop, Exchange, Flow, Load, OpenLoop, Record

GRACE_S = 40.0
"""How long answers are waited for after the last request; longer than the server's longest deadline."""


class LoadProcess:
    """A process that sends what it is told to; one load at a time."""

    def __init__(self) -> None:
        # Spawned, because gRPC does not survive a fork.
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def start(self, flows: Sequence[Flow], seconds: float) -> Future[Load]:
        """Begins to send; arguments as in `send`."""
        return self._pool.submit(send, flows, seconds)

    def run(self, flows: Sequence[Flow], seconds: float) -> Load:
        """Sends, and returns what was seen; arguments as in `send`."""
        return self.start(flows, seconds).result(seconds + GRACE_S + 60)

    def close(self) -> None:
        """Ends the process."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def load_process() -> Iterator[LoadProcess]:
    """A load generator for the duration of a `with` block."""
    process = LoadProcess()
    try:
        yield process
    finally:
        process.close()


def send(flows: Sequence[Flow], seconds: float, grace_s: float = GRACE_S) -> Load:
    """Sends the flows side by side from this process.

    Args:
        flows: What to send.
        seconds: When the last request is sent.
        grace_s: How long answers are waited for after that, in seconds.
    """
    begun = time.process_time()
    records = uvloop.run(_send_all(flows, seconds, grace_s))
    return Load(records, seconds, time.process_time() - begun)


async def _send_all(flows: Sequence[Flow], seconds: float, grace_s: float) -> list[Record]:
    senders = [_Sender(flow, seconds) for flow in flows]
    tasks = [asyncio.ensure_future(sender.run()) for sender in senders]
    _, late = await asyncio.wait(tasks, timeout=seconds + grace_s)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()):
            raise error
    return [sender.record for sender in senders]


class _Sender:
    """Sends one flow."""

    def __init__(self, flow: Flow, seconds: float) -> None:
        self.record = Record(flow.name)
        self._flow = flow
        self._end_s = seconds if flow.end_s is None else min(flow.end_s, seconds)
        self._read = READERS[flow.reader]
        self._sent = 0
        self._start = 0.0

    async def run(self) -> None:
        self._start = time.perf_counter()
        if isinstance(self._flow.schedule, ClosedLoop):
            await self._closed(self._flow.schedule)
        else:
            await self._open(self._flow.schedule)

    async def _closed(self, schedule: ClosedLoop) -> None:
        async def client() -> None:
            connection = _Connection(self._flow)
            await asyncio.sleep(self._flow.start_s)
            try:
                while (now := self._elapsed()) < self._end_s:
                    await self._exchange(connection, now)
            finally:
                await connection.close()

        await _together(client() for _ in range(schedule.clients))

    async def _open(self, schedule: OpenLoop) -> None:
        idle: list[_Connection] = []
        under_way: set[asyncio.Task[None]] = set()

        async def arrival(due_s: float) -> None:
            # The connection used last, so that few are open and none grows old.
            connection = idle.pop() if idle else _Connection(self._flow)
            await self._exchange(connection, due_s)
            idle.append(connection)

        try:
            for due_s in arrivals(schedule, self._flow.start_s, self._end_s):
                await asyncio.sleep(due_s - self._elapsed())
                if len(under_way) >= schedule.most_in_flight:
                    self.record.unsent += 1
                    continue
                task = asyncio.ensure_future(arrival(due_s))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            for connection in idle:
                await connection.close()

    async def _exchange(self, connection: "_Connection", due_s: float) -> None:
        number = self._sent % len(self._flow.items)
        self._sent += 1
        status, retry_after_s, answer = UNANSWERED, None, ""
        try:
            reply = await connection.send(self._flow.items[number].payload)
            status, retry_after_s = (reply.status, reply.retry_after_s) if reply else (LEFT, None)
            answer = self._read(reply.body) if reply else ""
        except (OSError, ValueError):
            status = LOST
        finally:
            latency_s = self._elapsed() - due_s
            self.record.exchanges.append(Exchange(number, due_s, latency_s, status, retry_after_s, answer))

    def _elapsed(self) -> float:
        return time.perf_counter() - self._start


class _Connection:
    """Sends as the flow says, over HTTP or gRPC."""

    def __init__(self, flow: Flow) -> None:
        client = GrpcClient(flow.port, flow.method) if flow.method else HttpClient(flow.port)
        self._client = client
        self.send: Callable[[bytes], Awaitable[Reply | None]] = client.send
        if isinstance(client, HttpClient) and flow.manner != "whole":
            self.send = client.send_slowly if flow.manner == "slow" else client.leave

    async def close(self) -> None:
        if isinstance(self._client, GrpcClient):
            await self._client.close()
        else:
            self._client.close()


def arrivals(schedule: OpenLoop, start_s: float, end_s: float) -> Iterator[float]:
    """Yields the times of a Poisson process between two times, in seconds, the same ones for the same seed."""
    random = np.random.default_rng(schedule.seed)
    due_s = start_s + random.exponential(1 / schedule.rate_per_s)
    while due_s < end_s:
        yield due_s
        due_s += random.exponential(1 / schedule.rate_per_s)


async def _together(work: Iterable[Awaitable[None]]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
