"""Keeps one child scoring; when it dies, finds the image that kills it and goes on without that one."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from brainmri.bulk import child
from brainmri.bulk.child import Message, Part, Progress, Ready, Work
from brainmri.bulk.items import Item
from brainmri.bulk.pipeline import BEGUN, UNTOUCHED, Shard
from brainmri.errors import BrainMRIError, ScoringHopeless
from brainmri.model.predictor import ModelIdentity

_UNDER_WAY = 2
"""Shards that a child has: the next is decoded while one ends."""

_ATTEMPTS = 3
"""Deaths of a shard for which no single image is to blame."""

_MOST_CRASHES = 50
_LOAD_S = 600


class _ChildDied(Exception):
    """The child is gone.

    Args:
        how: In words, such as `with signal SIGSEGV`.
    """

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


@dataclass
class _Task:
    """A shard under way."""

    number: int
    items: list[Item]
    slot: int
    crashed: dict[int, str] = field(default_factory=dict)
    deaths: int = 0


class Supervisor:
    """Scores shards in a child process. Use it as a context manager.

    Args:
        work: How the child works.
        shard_size: Most images of a shard.
        stall_s: Longest time without a finished batch, in seconds; then the child is killed and counts as crashed.
        on_progress: Told the number of images of unfinished shards that are done.
    """

    def __init__(
        self,
        work: Work,
        shard_size: int,
        stall_s: float = 600,
        on_progress: Callable[[int], None] = lambda images: None,
    ) -> None:
        self._work = work
        self._shard_size = shard_size
        self._stall_s = stall_s
        self._on_progress = on_progress
        self._context = multiprocessing.get_context("spawn")
        self._marks = self._context.RawArray("B", _UNDER_WAY * shard_size)
        self._crashes = 0
        self._partial: dict[int, int] = {}
        self._process: Any = None

    def __enter__(self) -> "Supervisor":
        """Starts the child, and waits until its model is loaded."""
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the child."""
        self._stop()

    @property
    def model(self) -> ModelIdentity:
        """Which model answers."""
        return self._model

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return int(self._process.pid)

    def run(self, shards: Iterable[tuple[int, list[Item]]]) -> Iterator[Part]:
        """Yields the part of each shard, in order.

        Args:
            shards: Number and images of each; taken as they are needed.

        Raises:
            ScoringHopeless: The child dies again and again without one image being the cause.
        """
        waiting = iter(shards)
        slots = deque(range(_UNDER_WAY))
        under_way: deque[_Task] = deque()
        while True:
            while slots and (following := next(waiting, None)) is not None:
                under_way.append(_Task(*following, slot=slots.popleft()))
                self._try_to_send(under_way[-1])
            if not under_way:
                return
            try:
                part = self._next_part()
            except _ChildDied as death:
                self._recover(under_way, death)
                continue
            slots.append(under_way.popleft().slot)
            yield part

    def _next_part(self) -> Part:
        while True:
            message = self._receive(self._stall_s)
            if isinstance(message, Part):
                self._partial.pop(message.number, None)
                return message
            if isinstance(message, Progress):
                self._partial[message.number] = message.done
                self._on_progress(sum(self._partial.values()))

    def _recover(self, under_way: Iterable[_Task], death: _ChildDied) -> None:
        """Starts another child, finds who is to blame, and sends the shards again without."""
        self._partial.clear()
        # A probe uses the marks as well.
        suspects = {task.number: self._begun(task) for task in under_way}
        self._restart(death)
        for task in under_way:
            culprits = [position for position in suspects[task.number] if self._kills(task, position)]
            task.deaths = 0 if culprits else task.deaths + bool(suspects[task.number])
            if task.deaths >= _ATTEMPTS:
                raise ScoringHopeless(
                    f"The process that scores images {task.number * self._shard_size} and following died {_ATTEMPTS}"
                    f" times {death.how}, and no image does it alone. Lower --batch-size, or give it more memory."
                )
        for task in under_way:
            self._try_to_send(task)

    def _begun(self, task: _Task) -> list[int]:
        start = task.slot * self._shard_size
        marks = self._marks[start : start + len(task.items)]
        return [position for position, mark in enumerate(marks) if mark == BEGUN and position not in task.crashed]

    def _kills(self, task: _Task, position: int) -> bool:
        """Scores one image alone, and notes it when the child does not survive that."""
        try:
            self._send(Shard(task.number, [task.items[position]]))
            self._next_part()
        except _ChildDied as death:
            task.crashed[position] = f"The process that scored this image, and no other, died {death.how}."
            self._restart(death)
            return True
        return False

    def _try_to_send(self, task: _Task) -> None:
        shard = Shard(task.number, task.items, task.slot * self._shard_size, dict(task.crashed))
        try:
            self._send(shard)
        except _ChildDied:
            # Whoever waits for its answer meets the death as well.
            return

    def _send(self, shard: Shard) -> None:
        for position in range(shard.marks_at, shard.marks_at + len(shard.items)):
            self._marks[position] = UNTOUCHED
        try:
            self._tasks.send(shard)
        except OSError as error:
            raise self._death() from error

    def _receive(self, timeout_s: float) -> Message:
        try:
            if self._messages.poll(timeout_s):
                message: Message = self._messages.recv()
                return message
        except (EOFError, OSError) as error:
            raise self._death() from error
        self._process.kill()
        raise _ChildDied(f"after {timeout_s:g} s without a result")

    def _death(self) -> _ChildDied:
        self._process.join(10)
        code = self._process.exitcode
        if code is not None and code < 0:
            return _ChildDied(f"with signal {signal.Signals(-code).name}")
        return _ChildDied(f"with exit status {code}")

    def _restart(self, death: _ChildDied) -> None:
        self._crashes += 1
        if self._crashes > _MOST_CRASHES:
            raise ScoringHopeless(f"The process that scores died {self._crashes} times, at last {death.how}.")
        self._stop()
        self._start()

    def _start(self) -> None:
        # For the child, before it loads NumPy: threads of OpenBLAS would spin on the cores that the network needs, for
        # a novelty score that takes 10 microseconds.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        receiver, self._tasks = self._context.Pipe(duplex=False)
        self._messages, sender = self._context.Pipe(duplex=False)
        self._process = self._context.Process(
            target=child.run, args=(self._work, receiver, sender, self._marks), name="score", daemon=True
        )
        self._process.start()
        # Or else the end of the child would not be the end of its messages.
        for end in (receiver, sender):
            end.close()
        try:
            message = self._receive(_LOAD_S)
        except _ChildDied as death:
            raise ScoringHopeless(f"The process that scores died {death.how} while it loaded the model.") from death
        if isinstance(message, BrainMRIError):
            raise message
        assert isinstance(message, Ready)  # noqa: S101 -- the child's first message
        self._model = message.model

    def _stop(self) -> None:
        for connection in (self._tasks, self._messages):
            connection.close()
        self._process.join(0)
        self._process.kill()
        self._process.join()
