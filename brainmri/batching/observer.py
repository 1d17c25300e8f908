"""What the batcher tells whoever counts."""

from typing import Protocol


class Observer(Protocol):
    """Counts what the batcher does. Called from the event loop and from the streams; must not block."""

    def observe_batch(self, images: int) -> None:
        """One batch of so many images was run."""

    def count_refusal(self, reason: str) -> None:
        """One request was not run: `queue_full`, `deadline`, `draining`, or `expired` when its deadline had passed."""

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """So many images wait for a stream, the oldest for so many seconds; told twice a second."""

    def set_in_flight(self, images: int) -> None:
        """So many images are being decoded, wait, or are in a stream; told twice a second."""


class Unobserved:
    """An observer that counts nothing."""

    def observe_batch(self, images: int) -> None:
        """Does nothing."""

    def count_refusal(self, reason: str) -> None:
        """Does nothing."""

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        """Does nothing."""

    def set_in_flight(self, images: int) -> None:
        """Does nothing."""
