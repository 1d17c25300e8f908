"""What the schedule promises and refuses, without streams and threads."""

import asyncio
import time
from unittest.mock import Mock

import pytest

from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.queue import Batch, Job, Part
from brainmri.batching.schedule import Batching, Refusal, Run, Schedule, ServiceTimes
from brainmri.settings import Settings
from tests.batching.stand_in import SOON, StandIn, numbered, predictor_of


def test_the_settings_become_seconds_and_streams() -> None:
    settings = Settings(max_batch_size=4, max_queue_images=9, max_queue_delay_ms=250, streams=3, threads=4)
    assert Batching.of(settings) == Batching(4, 9, 0.25, 3)


@pytest.mark.parametrize(("places", "bulk"), [(256, 192), (5, 3), (1, 1)])
def test_bulk_work_leaves_a_quarter_and_always_has_a_place(places: int, bulk: int) -> None:
    batching = Batching(max_queue_images=places)
    assert batching.room(Priority.INTERACTIVE) == places
    assert batching.room(Priority.BULK) == bulk


def test_times_are_for_one_image_and_follow_what_is_measured() -> None:
    times, predictor = ServiceTimes(), predictor_of(StandIn())
    assert times.per_image(predictor, 8) == 0
    times.observe(predictor, 8, 4.0)
    assert times.per_image(predictor, 8) == 0.5
    # The nearest size known stands in for the others.
    assert times.per_image(predictor, 1) == 0.5
    times.observe(predictor, 8, 8.0)
    assert 0.5 < times.per_image(predictor, 8) < 1
    times.observe(predictor, 1, 3.0)
    assert times.per_image(predictor, 1) == 3


def test_what_a_request_takes_itself_counts_against_its_deadline() -> None:
    predictor = predictor_of(StandIn())
    schedule = Schedule(Batching(max_batch_size=1))
    call = Call(predictor, Deadline.after(1000))
    schedule.running["a"] = Run(Batch(predictor, [_part(call)], []), time.perf_counter(), 1.0)
    schedule.end("a", 100_000.0)
    assert schedule.refusal(call, 1) is None, "With nothing ahead it is tried."
    schedule.running["a"] = Run(Batch(predictor, [_part(call)], []), time.perf_counter(), 500.0)
    refusal = schedule.refusal(call, 1)
    assert refusal is not None
    assert refusal.reason == "deadline"
    assert 0 < refusal.clear_in_s <= 500


def test_a_queue_that_is_full_takes_nothing_more_and_one_that_is_empty_takes_anything() -> None:
    predictor = predictor_of(StandIn())
    schedule = Schedule(Batching(max_batch_size=1, max_queue_images=4))
    call = Call(predictor, SOON)
    assert schedule.reserve(call, 9) is None
    assert schedule.refusal(call, 1) == Refusal("queue_full", 0.0)
    assert schedule.in_flight == 9


def _part(call: Call) -> Part:
    job = Job(call, numbered(1), Mock(spec=asyncio.Future), 0.0)
    return Part(job, 0, 1)
