"""The two threads behind the listener: one scores what was received, one delivers results; both end when asked to."""

import contextlib
import logging
import threading
from collections.abc import Callable

from brainmri.dicom.destination import Destination, Outcome
from brainmri.dicom.results import results_of
from brainmri.dicom.source import read_source
from brainmri.dicom.spool import Delivery, Spool
from brainmri.errors import InvalidInput
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Predictor

_logger = logging.getLogger(__name__)

_IDLE_S = 1.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0


class Scoring:
    """Scores the objects of a spool, one at a time.

    Args:
        spool: Where they are.
        predictor: Loaded and warm.
    """

    def __init__(self, spool: Spool, predictor: Predictor) -> None:
        self._spool = spool
        self._predictor = predictor

    def step(self) -> bool:
        """Scores the oldest object; False if there is none, or the disk is full."""
        identity = next(iter(self._spool.received()), None)
        if identity is None:
            return False
        try:
            self._spool.scored(identity, self._results(identity))
        except OSError as error:
            _logger.warning("Results of object %s cannot be stored: %s", identity, error.strerror)
            return False
        _logger.info("Scored object %s", identity)
        return True

    def _results(self, identity: str) -> dict[str, bytes]:
        data = self._spool.data(identity)
        try:
            source = read_source(data, self._predictor.limits)
            prediction = self._predictor.predict(data, Explain() if self._predictor.explains else None)
            return results_of(source, prediction).files()
        except InvalidInput as error:
            _logger.warning("Object %s has no results: %s (%s)", identity, error.message, error.code)
        except ValueError:
            _logger.exception("The network failed on object %s, which has no results", identity)
        return {}


class Delivering:
    """Delivers the results of a spool, the oldest first; waits longer after each failure.

    Args:
        spool: Where they are.
        destination: Where they go.
        stop: Ends a wait.
    """

    def __init__(self, spool: Spool, destination: Destination, stop: threading.Event) -> None:
        self._spool = spool
        self._destination = destination
        self._stop = stop
        self._wait_s = _FIRST_WAIT_S

    def step(self) -> bool:
        """Delivers the results of one object; False if there are none, or they are to be tried later."""
        delivery = next(iter(self._spool.deliveries()), None)
        if delivery is None:
            return False
        if self._deliver(delivery):
            self._wait_s = _FIRST_WAIT_S
            return True
        self._stop.wait(self._wait_s)
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        return False

    def _deliver(self, delivery: Delivery) -> bool:
        """Returns whether the object is done with."""
        with contextlib.closing(self._destination.deliver(delivery.files)) as outcomes:
            for file, outcome in zip(delivery.files, outcomes, strict=False):
                if outcome is Outcome.LATER:
                    return False
                if outcome is Outcome.REFUSED:
                    self._spool.refuse(delivery.identity)
                    return True
                self._spool.delivered(file)
        _logger.info("Delivered the results of object %s", delivery.identity)
        return True


class Worker:
    """A thread that takes one step after the other.

    Args:
        name: Of the thread.
        step: Does a piece of work; False when there is none.
        spool: Wakes it.
        stop: Ends it after the step under way.
    """

    def __init__(self, name: str, step: Callable[[], bool], spool: Spool, stop: threading.Event) -> None:
        self._step = step
        self._spool = spool
        self._stop = stop
        self.failed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts it."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Waits for its end; False if the step under way takes longer."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self._step():
                    self._spool.wait(_IDLE_S)
        except Exception:
            _logger.exception("The thread %s has failed", self._thread.name)
            self.failed = True
        finally:
            self._stop.set()
            self._spool.wake()
