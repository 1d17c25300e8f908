"""A count of what is under way, for whoever has to wait until nothing is."""

import asyncio


class UnderWay:
    """Counts on the event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        """Returns how many are under way."""
        return self._count

    def enter(self) -> None:
        """One more."""
        self._count += 1
        self._none.clear()

    def leave(self) -> None:
        """One less."""
        self._count -= 1
        if not self._count:
            self._none.set()

    async def wait_until_none(self) -> None:
        """Returns when there is none."""
        await self._none.wait()
