"""One run of Locust: prepares every process that sends, and collects what all of them saw in one record."""

import logging
import time
from pathlib import Path
from typing import Any, cast

import gevent
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from loadtests.clients import Target
from loadtests.pictures import NoImages, load_pictures
from loadtests.plans import BadPlan, make_plan
from loadtests.preflight import NotServing, inspect
from loadtests.record import Record, Span, machine
from loadtests.shape import PlannedShape
from loadtests.target import ForbiddenTarget
from loadtests.users import REFUSED, Caller, MixedUser, kinds_of

_KEY = "brainmri_record"
"""Of our part in a worker's report to the master."""

_logger = logging.getLogger(__name__)


class Session:
    """Listens to Locust's events.

    Args:
        environment: Locust's.

    Raises:
        SystemExit: A flag has a bad value, or the target is another machine and may not be.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._options = options = cast(Any, environment.parsed_options)
        self._record = Record()
        self._requests = 0
        try:
            self._shape = self._planned_shape()
            if environment.host:
                self._target().check()
        except (BadPlan, ForbiddenTarget) as error:
            raise SystemExit(str(error)) from None
        # Users end after their last answer, not before.
        environment.stop_timeout = environment.stop_timeout or options.timeout + 1
        # A worker is told by its master.
        if not options.user_classes and not isinstance(environment.runner, WorkerRunner):
            environment.user_classes = [MixedUser]
        events = environment.events
        events.test_start.add_listener(self.prepare)
        events.request.add_listener(self.count)
        events.report_to_master.add_listener(self.hand_on)
        events.worker_report.add_listener(self.take)
        (events.quitting if options.headless else events.test_stop).add_listener(self.write)

    def prepare(self, **_: object) -> None:
        """Makes images and asks the service what it is; ends the run if it does not serve."""
        self._record = Record()
        self._requests = 0
        Caller.ready = False
        Caller.target = target = self._target()
        try:
            target.check()
            self._record.about = self._about()
            self._record.kinds = kinds_of(self._environment.user_classes)
            if isinstance(self._environment.runner, MasterRunner):
                return
            options = self._options
            Caller.known = inspect(target, load_pictures(options.images, options.image_count, options.image_side))
            Caller.ready = True
            self._record.about["model"] = Caller.known.model
            if self._shape is not None:
                self._shape.restart()
        except (ForbiddenTarget, NoImages, NotServing) as error:
            self._end(str(error))

    def count(self, response_time: float, exception: Exception | None, context: dict[str, Any], **more: Any) -> None:
        """Adds one finished request to the record: a result, a refusal or a failure."""
        kind, due = context["kind"], more["start_time"]
        if more["request_type"] == REFUSED:
            self._record.count_refusal(kind, due)
        elif exception is not None:
            self._record.count_failure(kind, due, str(exception))
        else:
            self._record.count_answer(kind, due, response_time, context["images"])
        self._requests += 1
        if self._requests == self._options.max_requests:
            self._end(f"{self._requests} requests were sent, as many as --max-requests allows.")

    def hand_on(self, data: dict[str, Any], **_: object) -> None:
        """Puts into a worker's report what it has counted since the last one."""
        about = {"model": self._record.about["model"]} if "model" in self._record.about else {}
        data[_KEY] = {**self._record.counts(), "ended_early": self._record.ended_early, "about": about}
        self._record.clear_counts()

    def take(self, data: dict[str, Any], **_: object) -> None:
        """Adds a worker's report."""
        part = data[_KEY]
        self._record.merge(part)
        self._record.about.update(part["about"])
        self._record.ended_early = self._record.ended_early or part["ended_early"]
        if part["ended_early"]:
            self._quit_soon()

    def write(self, **_: object) -> None:
        """Writes the record, but not on a worker."""
        if isinstance(self._environment.runner, WorkerRunner) or not self._record.about:
            return
        self._record.spans = self._spans()
        if isinstance(self._environment.runner, LocalRunner):
            self._record.about["CPU time of the load generator"] = f"{time.process_time():.0f} s"
        self._record.write(Path(self._options.record))
        _logger.info("%d requests recorded in %s", self._record.requests(), self._options.record)

    def _planned_shape(self) -> PlannedShape | None:
        options, shape = self._options, self._environment.shape_class
        if not options.shape or not isinstance(shape, PlannedShape):
            self._environment.shape_class = None
            return None
        shape.plan = make_plan(options.shape, options.levels, options.stage_seconds)
        shape.load_per_user = self._load_per_user()
        return shape

    def _load_per_user(self) -> float:
        return float(self._options.rate_per_user) if self._options.loop == "open" else 1.0

    def _spans(self) -> list[Span]:
        if self._shape is not None:
            return self._shape.spans
        seconds = sorted(second for second, _ in self._record.tallies)
        load = (self._options.num_users or 0) * self._load_per_user()
        return [Span("all", load, seconds[0], seconds[-1])] if seconds else []

    def _target(self) -> Target:
        options = self._options
        return Target(
            http=(self._environment.host or "").rstrip("/"),
            grpc=options.grpc_host,
            timeout_s=options.timeout,
            api_key=options.api_key,
            allow_remote=options.allow_remote,
        )

    def _about(self) -> dict[str, str]:
        options = self._options
        images = (
            f"{options.image_count} files of {options.images}"
            if options.images
            else f"{options.image_count} drawn, {options.image_side} px"
        )
        return {
            "target": f"{self._environment.host}, gRPC {options.grpc_host}",
            "users": ", ".join(user.__name__ for user in self._environment.user_classes),
            "tags": " ".join(options.tags or []) or "all",
            "loop": options.loop,
            "shape": options.shape or "none",
            "images": images,
            "batch size": str(options.batch_size),
            "load generator": machine(),
        }

    def _end(self, why: str) -> None:
        _logger.error("The run ends early: %s", why)
        self._record.ended_early = why
        self._quit_soon()

    def _quit_soon(self) -> None:
        self._environment.process_exit_code = 1
        if self._environment.runner is not None and not isinstance(self._environment.runner, WorkerRunner):
            # From a greenlet of its own, because quitting waits for the one that is running now.
            gevent.spawn(self._environment.runner.quit)
