import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from brainmri.batching.turns import Turns
from brainmri.errors import Overloaded


class Held:
    """A client that keeps its turn until it is told to end it."""

    def __init__(self, turns: Turns, client: str) -> None:
        self.begun, self._end = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._hold(turns, client))

    async def _hold(self, turns: Turns, client: str) -> None:
        async with turns.one(client):
            self.begun.set()
            await self._end.wait()

    async def end(self) -> None:
        self._end.set()
        await self.task


@contextlib.asynccontextmanager
async def held(turns: Turns, *clients: str) -> AsyncIterator[list[Held]]:
    """Lets the clients ask one after the other."""
    asked = []
    for client in clients:
        asked.append(Held(turns, client))
        await asyncio.sleep(0)
    yield asked
    for one in asked:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in asked), return_exceptions=True)
    assert turns.taken == 0


def begun(asked: list[Held]) -> list[int]:
    return [index for index, one in enumerate(asked) if one.begun.is_set()]


def run(talk: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(talk, 10))


def test_a_client_has_half_of_the_turns() -> None:
    async def talk() -> None:
        async with held(Turns(4, 9, 60), *"aaabcd") as asked:
            assert begun(asked) == [0, 1, 3, 4]
            await asked[0].end()
            await asyncio.sleep(0)
            assert begun(asked) == [0, 1, 2, 3, 4]
            await asked[3].end()
            await asyncio.sleep(0)
            assert begun(asked) == [0, 1, 2, 3, 4, 5]

    run(talk())


def test_clients_that_wait_get_their_turns_in_rotation() -> None:
    async def talk() -> None:
        async with held(Turns(1, 9, 60), *"aaaabc") as asked:
            order = []
            for _ in asked:
                (next_one,) = (index for index in begun(asked) if index not in order)
                order.append(next_one)
                await asked[next_one].end()
                await asyncio.sleep(0)
            assert order == [0, 1, 4, 5, 2, 3]

    run(talk())


def test_a_turn_may_take_long_while_nobody_waits() -> None:
    async def talk() -> None:
        async with held(Turns(1, 9, 0.1), "a") as (only,):
            await asyncio.sleep(0.3)
            assert not only.task.done()

    run(talk())


def test_a_turn_that_others_wait_for_ends_soon() -> None:
    async def talk() -> None:
        async with held(Turns(1, 9, 0.1), "a", "b") as (first, second):
            with pytest.raises(Overloaded, match=r"took longer than 0\.1 s to arrive") as caught:
                await first.task
            assert (caught.value.limit, caught.value.retry_after_s) == ("0.1 s", 1.0)
            await second.begun.wait()

    run(talk())


def test_a_turn_that_nobody_else_could_have_is_not_hurried() -> None:
    async def talk() -> None:
        # The second of "a" waits for the first one's end; "b" is in nobody's way.
        async with held(Turns(3, 9, 0.1), "b", "a", "a") as (other, first, second):
            with pytest.raises(Overloaded):
                await first.task
            await second.begun.wait()
            await asyncio.sleep(0.2)
            assert not other.task.done()

    run(talk())


def test_a_client_that_waits_for_its_own_turns_hurries_no_other_though_all_are_taken() -> None:
    async def talk() -> None:
        async with held(Turns(4, 9, 0.1), *"bbaaa") as (one, two, first, _, third):
            with pytest.raises(Overloaded):
                await first.task
            await third.begun.wait()
            await asyncio.sleep(0.2)
            assert not one.task.done()
            assert not two.task.done()

    run(talk())


def test_too_many_of_one_client_that_wait_are_refused() -> None:
    async def talk() -> None:
        turns = Turns(1, 2, 60)
        async with held(turns, *"abb"):
            with pytest.raises(Overloaded, match="You already have 2 messages waiting, the maximum") as caught:
                async with turns.one("b"):
                    pass
            assert caught.value.limit == "2 messages"

    async def another() -> None:
        async with held(Turns(1, 2, 60), *"abbc") as asked:
            assert not asked[3].task.done()

    run(talk())
    run(another())


def test_whoever_leaves_while_waiting_takes_nobodys_turn() -> None:
    async def talk() -> None:
        async with held(Turns(1, 9, 60), *"abc") as asked:
            asked[1].task.cancel()
            await asyncio.wait((asked[1].task,))
            await asked[0].end()
            await asyncio.sleep(0)
            assert begun(asked) == [0, 2]

    run(talk())


def test_whoever_leaves_as_its_turn_begins_gives_it_on() -> None:
    async def talk() -> None:
        turns = Turns(1, 9, 60)
        async with turns.one("a"):
            waiting = [Held(turns, "b"), Held(turns, "c")]
            await asyncio.sleep(0)
        waiting[0].task.cancel()
        await waiting[1].begun.wait()
        assert begun(waiting) == [1]
        await waiting[1].end()
        assert turns.taken == 0

    async def before() -> None:
        turns = Turns(1, 9, 60)
        async with turns.one("a"):
            waiting = [Held(turns, "b"), Held(turns, "c")]
            await asyncio.sleep(0)
            waiting[0].task.cancel()
        await waiting[1].begun.wait()
        await waiting[1].end()
        assert (turns.taken, begun(waiting)) == (0, [1])

    run(talk())
    run(before())
