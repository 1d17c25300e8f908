"""Locust's view of a plan: how many users there should be now."""

import time
from collections.abc import Sequence

from locust import LoadTestShape

from loadtests.plans import Stage, stage_at
from loadtests.record import Span

USERS_PER_S = 100.0
"""How fast users start and stop, so that a stage has its load at once or nearly; Locust advises against more."""


class PlannedShape(LoadTestShape):
    """Follows the stages of a plan, and notes when each one really was.

    Attributes:
        plan: The stages; none before the flags are known.
        load_per_user: Arrivals a second of one user, or 1 for a closed loop.
        spans: The stages so far; the end of the last one is when it should end.
    """

    use_common_options = True  # without a plan, Locust's own -u, -r and -t hold

    def __init__(self) -> None:
        super().__init__()
        self.plan: Sequence[Stage] = ()
        self.load_per_user = 1.0
        self.spans: list[Span] = []

    def tick(self) -> tuple[int, float] | None:
        """Returns the users of the stage and how fast to start them; None at the end."""
        number = stage_at(self.plan, self.get_run_time())
        if number is None:
            self._close_span()
            return None
        stage = self.plan[number]
        users = max(1, round(stage.load / self.load_per_user))
        if number == len(self.spans):
            self._close_span()
            now = time.time()
            self.spans.append(Span(stage.name, users * self.load_per_user, now, now + stage.seconds))
        return users, USERS_PER_S

    def restart(self) -> None:
        """Begins the first stage now: until here, users were prepared."""
        self.reset_time()
        self.spans.clear()

    def _close_span(self) -> None:
        if self.spans:
            last = self.spans[-1]
            self.spans[-1] = Span(last.name, last.load, last.start, min(last.end, time.time()))
