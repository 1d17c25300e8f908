"""The one traveller: what a request asks of a model and by when, made at the interface and passed down to the queue."""

import time
from dataclasses import dataclass
from enum import IntEnum

from brainmri.batching.admission import Admitted
from brainmri.errors import DeadlineExceeded
from brainmri.imaging import DEFAULT_OPTIONS, ReadOptions
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Predictor
from brainmri.observe.request_record import RequestRecord


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


@dataclass(frozen=True, slots=True)
class Call:
    """One request for predictions, whichever interface it came by.

    Attributes:
        predictor: Which model answers.
        deadline: When the caller stops waiting, the upload included.
        priority: Whether it goes before or after other work.
        record: What is noted about the request; None for one that no client sent.
        options: Which frame of each file, and whether another part of the body is answered for.
        admitted: What the request holds; None for one that no client sent.
        explain: Asks for a heat map of each image beside its prediction.
        preview_side: Asks for a preview of each image, whose longer side has at most so many pixels.
        warm_up: Sent by the server itself while it starts; answered before the engine is ready.
    """

    predictor: Predictor
    deadline: Deadline
    priority: Priority = Priority.INTERACTIVE
    record: RequestRecord | None = None
    options: ReadOptions = DEFAULT_OPTIONS
    admitted: Admitted | None = None
    explain: Explain | None = None
    preview_side: int | None = None
    warm_up: bool = False
