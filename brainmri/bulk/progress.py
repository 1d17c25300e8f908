"""Shows how far a run is: a bar on a terminal, a line now and then in a log."""

import time
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_LINE_EVERY_S = 30


class RunProgress:
    """A `Watcher` for people. Use it as a context manager.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("scoring"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]} failed"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("scoring", total=None, failed=0)
        self._images = self._before = self._stored = self._failed = 0
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> "RunProgress":
        """Shows the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the bar as it is."""
        self._bar.stop()

    def begun(self, images: int, done: int, failed: int) -> None:
        """See `Watcher`."""
        self._images, self._before = images, done
        self._begun = self._told = time.monotonic()
        self._bar.reset(self._task, total=images, completed=done)
        self.advanced(done, failed)

    def advanced(self, done: int, failed: int) -> None:
        """See `Watcher`."""
        self._stored, self._failed = done, failed
        self.under_way(0)

    def under_way(self, images: int) -> None:
        """So many images are done besides those that are stored."""
        done = self._stored + images
        self._bar.update(self._task, completed=done, failed=self._failed)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._told >= _LINE_EVERY_S:
            self._told = now
            self._console.print(self._line(done, now - self._begun), soft_wrap=True)

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - self._before) / seconds
        left = f", {timedelta(seconds=round((self._images - done) / rate))} left" if rate else ""
        return f"{done} of {self._images} images, {rate:.1f} images/s{left}, {self._failed} failed"


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        """Returns the text of the column."""
        return Text("" if task.speed is None else f"{task.speed:.1f} images/s")
