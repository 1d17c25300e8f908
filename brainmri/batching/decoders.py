"""Threads that decode: large images have one of their own, so that ordinary ones never wait behind them."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from brainmri.imaging.memory import LargeImage, ordinary_images_only

P = ParamSpec("P")
T = TypeVar("T")


class Decoders(Executor):
    """An executor for work that decodes one image.

    Each piece begins on a thread for ordinary images. When the image's header shows that it is large, before anything
    is decoded, the piece begins again on the one thread for large images. Large ones that wait hold no thread.

    Args:
        threads: For ordinary images, at least 1.
    """

    def __init__(self, threads: int) -> None:
        self._ordinary = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="decode-large")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs a piece of work, which may begin twice; one that is cancelled while it waits does not begin again."""
        outcome: Future[T] = Future()

        def attempt(ordinary_only: bool) -> None:
            if outcome.cancelled():
                return
            try:
                with ordinary_images_only(ordinary_only):
                    result = fn(*args, **kwargs)
            except LargeImage:
                _begin(self._large, attempt, False, outcome)
            except BaseException as error:  # noqa: BLE001 -- whoever waits for the outcome gets it
                if outcome.set_running_or_notify_cancel():
                    outcome.set_exception(error)
            else:
                if outcome.set_running_or_notify_cancel():
                    outcome.set_result(result)

        _begin(self._ordinary, attempt, True, outcome)
        return outcome

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the threads; as in `concurrent.futures.Executor`."""
        for executor in (self._ordinary, self._large):
            executor.shutdown(wait=wait, cancel_futures=cancel_futures)


def _begin(executor: ThreadPoolExecutor, attempt: Callable[[bool], None], flag: bool, outcome: Future[Any]) -> None:
    def end_with(inner: Future[None]) -> None:
        if inner.cancelled():
            outcome.cancel()

    try:
        executor.submit(attempt, flag).add_done_callback(end_with)
    except RuntimeError:  # the executor has ended
        outcome.cancel()
