"""The moment after which nobody waits for an answer any more."""

import time
from dataclasses import dataclass
from enum import IntEnum

from brainmri.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """An instant of `time.monotonic`, which is also the event loop's clock.

    Attributes:
        at: Seconds on that clock.
        budget_s: Seconds that the request was given in all, for messages.
    """

    at: float
    budget_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Returns the deadline `seconds` from now."""
        return cls(time.monotonic() + seconds, seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left; negative when it has passed."""
        return self.at - time.monotonic()

    def exceeded(self) -> DeadlineExceeded:
        """Returns the error that tells a caller about it."""
        return DeadlineExceeded(
            f"The request was not answered within {self.budget_s:g} s. Send a smaller image, or try again"
            " when the server is less busy.",
            limit=f"{self.budget_s:g} s",
        )


class Priority(IntEnum):
    """Which work goes first; within one priority, first come, first served."""

    INTERACTIVE = 0
    BULK = 1
