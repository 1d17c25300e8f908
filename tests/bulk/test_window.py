import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest

from brainmri.bulk.window import in_order


class Works:
    """Work that counts itself while it is under way."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.begun: list[int] = []

    async def slow_first(self, number: int) -> int:
        """Takes the longer, the earlier the item is."""
        self.begun.append(number)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(20 - number):
                await asyncio.sleep(0)
            if number == 5:
                raise ValueError("five")
            return number
        finally:
            self.under_way -= 1


def test_results_come_in_order_with_so_many_under_way() -> None:
    async def talk() -> tuple[list[int], int]:
        works = Works()
        return [number async for number in in_order([0, 1, 2, 3, 4, 6, 7], works.slow_first, 3)], works.most

    assert asyncio.run(talk()) == ([0, 1, 2, 3, 4, 6, 7], 3)


def test_items_are_taken_only_as_there_is_room() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    async def talk() -> None:
        works = Works()
        async with aclosing(in_order((10 + number % 2 for number in items()), works.slow_first, 4)) as found:
            assert await anext(found) == 10
        assert taken == [0, 1, 2, 3]
        assert works.begun == [10, 11, 10, 11]

    asyncio.run(talk())


def test_closing_cancels_what_is_under_way_and_waits_until_it_has_ended() -> None:
    async def talk() -> None:
        ended: list[int] = []

        async def wait_long(number: int) -> int:
            try:
                await asyncio.sleep(600 if number else 0)
            finally:
                ended.append(number)
            return number

        async with aclosing(in_order(range(20), wait_long, 5)) as found:
            assert await anext(found) == 0
            assert ended == [0]
        assert sorted(ended) == [0, 1, 2, 3, 4]

    asyncio.run(talk())


def test_an_error_is_raised_when_its_turn_comes_and_ends_the_rest() -> None:
    async def talk() -> None:
        works = Works()
        numbers = in_order(range(20), works.slow_first, 4)
        assert [await anext(numbers) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="five"):
            await anext(numbers)
        assert works.under_way == 0

    asyncio.run(talk())


def test_results_are_yielded_while_the_source_waits_for_its_next_item() -> None:
    async def talk() -> None:
        more = asyncio.Event()

        async def source() -> AsyncGenerator[int, None]:
            yield 1
            yield 2
            await more.wait()
            yield 3

        async with aclosing(in_order(source(), Works().slow_first, 4)) as found:
            assert [await anext(found), await anext(found)] == [1, 2]
            more.set()
            assert [number async for number in found] == [3]

    asyncio.run(asyncio.wait_for(talk(), 10))


def test_what_a_source_raises_comes_after_the_results_of_its_items() -> None:
    async def talk() -> None:
        async def source() -> AsyncGenerator[int, None]:
            yield 1
            yield 2
            raise ValueError("the source")

        numbers = in_order(source(), Works().slow_first, 4)
        assert [await anext(numbers), await anext(numbers)] == [1, 2]
        with pytest.raises(ValueError, match="the source"):
            await anext(numbers)

    asyncio.run(talk())


def test_closing_ends_a_source_that_waits_and_work_within_work() -> None:
    async def talk() -> None:
        ended: list[str] = []

        async def source() -> AsyncGenerator[int, None]:
            try:
                yield 1
                await asyncio.sleep(600)
            finally:
                ended.append("source")

        works = Works()
        inner = in_order(source(), works.slow_first, 4)
        async with aclosing(inner), aclosing(in_order(inner, works.slow_first, 4)) as found:
            assert await anext(found) == 1
            assert ended == []
        assert (ended, works.under_way) == (["source"], 0)

    asyncio.run(asyncio.wait_for(talk(), 10))


def test_nothing_gives_nothing() -> None:
    async def talk() -> list[int]:
        return [number async for number in in_order([], Works().slow_first, 4)]

    assert asyncio.run(talk()) == []
