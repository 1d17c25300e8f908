import asyncio
from collections.abc import Iterator
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


def test_nothing_gives_nothing() -> None:
    async def talk() -> list[int]:
        return [number async for number in in_order([], Works().slow_first, 4)]

    assert asyncio.run(talk()) == []
