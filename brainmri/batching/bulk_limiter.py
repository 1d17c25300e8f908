"""Limits how much of the engine bulk work takes: few images at a time, however much there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.errors import NotReady
from brainmri.imaging import Picture
from brainmri.model.predictor import Prediction

_LONGEST_WAIT_S = 1.0


class BulkLimiter:
    """Shared by all bulk work of one process, so that two archives hold up interactive requests no longer than one.

    Places are given in the order in which they are asked for, so bulk callers share them evenly.

    Args:
        engine: What predicts.
        images: Most images that are read, decoded and in the network at a time, at least 1.
    """

    def __init__(self, engine: Engine, images: int) -> None:
        self.images = images
        self._engine = engine
        self._places = asyncio.Semaphore(images)

    @property
    def open(self) -> bool:
        """Whether work is taken: not before the engine is ready, and not once it is to end."""
        return self._engine.ready

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Waits until one more image may be worked on, until the end of the context.

        Raises:
            NotReady: The engine is to end, and begins nothing that nobody waits for interactively.
        """
        async with self._places:
            if not self.open:
                raise NotReady("The service is shutting down. Send what has no answer yet again.")
            yield

    async def predict(self, call: Call, data: bytes | Picture) -> Prediction:
        """Answers for one image, which has a place.

        Raises:
            BrainMRIError: As in `Engine.predict`, except that work without room waits for it.
        """
        # Asked first: what waits here has been accepted, and nobody is refused.
        while (wait_s := self._engine.room_in_s(call)) is not None:
            await asyncio.sleep(min(wait_s, _LONGEST_WAIT_S, max(call.deadline.remaining_s, 0.0)))
        return await self._engine.predict(call, data)
