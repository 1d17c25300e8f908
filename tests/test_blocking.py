import ast
import asyncio
import threading
import time
from pathlib import Path

import pytest

from brainmri.blocking import Stop, Stopped, Threads

ROOT = Path(__file__).parents[1]
SERVER = [ROOT / "service.py", *sorted((ROOT / "brainmri").rglob("*.py"))]


def shared_threads(source: str) -> list[str]:
    """Returns the calls that run work in threads which all kinds of work share: asyncio's, or those of Starlette."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if _is_shared(call)]


def _is_shared(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name == "run_in_executor":
        return isinstance(call.args[0], ast.Constant) and call.args[0].value is None
    return name in ("to_thread", "run_in_threadpool", "run_sync", "set_default_executor")


@pytest.mark.parametrize("line", ["asyncio.to_thread(f)", "loop.run_in_executor(None, f)", "run_in_threadpool(f)"])
def test_work_in_shared_threads_is_found(line: str) -> None:
    assert shared_threads(line) == [line]
    assert shared_threads("loop.run_in_executor(pool, f); threads.run(f)") == []


def test_no_work_of_the_server_runs_in_shared_threads() -> None:
    assert len(SERVER) > 150
    assert [call for path in SERVER for call in shared_threads(path.read_text())] == []


def test_work_runs_in_threads_of_its_kind_and_no_more_than_allowed() -> None:
    async def talk() -> list[str]:
        threads = Threads("kind", 2)
        return await asyncio.gather(*(threads.run(_name) for _ in range(8)))

    def _name() -> str:
        time.sleep(0.01)
        return threading.current_thread().name

    assert set(asyncio.run(talk())) == {"kind_0", "kind_1"}


def test_what_work_raises_reaches_its_caller() -> None:
    async def talk() -> None:
        await Threads("kind", 1).run(int, "x")

    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(talk())


def test_a_cancelled_caller_stops_its_work_and_waits_for_its_end() -> None:
    stop, ended = Stop(), threading.Event()

    def work() -> None:
        try:
            while True:
                time.sleep(0.05)
                stop.check()
        except Stopped:
            ended.set()
            raise

    async def talk() -> None:
        task = asyncio.create_task(Threads("kind", 1).run(work, stop=stop))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0)
        # A second cancellation leaves nothing behind either.
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(talk())


def test_work_that_has_not_begun_when_its_caller_is_cancelled_never_does() -> None:
    begun: list[int] = []

    async def talk() -> None:
        threads, free = Threads("kind", 1), threading.Event()
        first = asyncio.create_task(threads.run(free.wait))
        second = asyncio.create_task(threads.run(begun.append, 1))
        await asyncio.sleep(0.02)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        free.set()
        assert await first
        await threads.run(int)

    asyncio.run(talk())
    assert begun == []
