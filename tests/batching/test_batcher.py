import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.batching.batcher import Batcher
from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.queue import BULK_TURN
from brainmri.batching.schedule import Batching, ServiceTimes
from brainmri.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output
from tests.batching.stand_in import SOON, WAIT_S, StandIn, numbered, numbers_of, predictor_of, until


class Counts:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.refusals: list[str] = []
        self.queue: list[tuple[int, float]] = []
        self.in_flight: list[int] = []

    def observe_batch(self, images: int) -> None:
        self.batches.append(images)

    def count_refusal(self, reason: str) -> None:
        self.refusals.append(reason)

    def set_queue(self, images: int, oldest_age_s: float) -> None:
        self.queue.append((images, oldest_age_s))

    def set_in_flight(self, images: int) -> None:
        self.in_flight.append(images)


@asynccontextmanager
async def running(counts: Counts | None = None, **settings: Any) -> AsyncIterator[Batcher]:
    batcher = Batcher(Batching(**settings), counts)
    batcher.start()
    try:
        yield batcher
    finally:
        await batcher.drain(WAIT_S)


async def ask(batcher: Batcher, predictor: Predictor, *numbers: int, **more: Any) -> list[int]:
    answer = await batcher.infer(Call(predictor, more.pop("deadline", SOON), **more), numbered(*numbers))
    return numbers_of(answer.output)


async def held_by(batcher: Batcher, runtime: StandIn, predictor: Predictor) -> asyncio.Task[list[int]]:
    """Occupies the stream with the image 0, so that everything after it gathers."""
    first = asyncio.create_task(ask(batcher, predictor, 0))
    await until(lambda: runtime.batches == [[0]])
    return first


async def queued(batcher: Batcher, *requests: Coroutine[Any, Any, list[int]]) -> list[asyncio.Task[list[int]]]:
    """Starts requests, each surely after the one before."""
    tasks = []
    for request in requests:
        tasks.append(asyncio.create_task(request))
        await asyncio.sleep(0)
    return tasks


def test_an_idle_stream_takes_a_single_image_at_once() -> None:
    async def talk() -> None:
        runtime = StandIn()
        async with running(max_batch_size=8, max_queue_delay_s=0) as batcher:
            assert await ask(batcher, predictor_of(runtime), 7) == [7]
        assert runtime.batches == [[7]]

    asyncio.run(talk())


def test_what_comes_in_one_pass_of_the_event_loop_goes_into_one_batch() -> None:
    async def talk() -> None:
        runtime = StandIn()
        predictor = predictor_of(runtime)
        async with running(max_batch_size=8) as batcher:
            answers = await asyncio.gather(*(ask(batcher, predictor, number) for number in range(10)))
        assert answers == [[number] for number in range(10)]
        assert runtime.batches == [[*range(8)], [8, 9]]

    asyncio.run(talk())


def test_what_comes_while_the_stream_is_busy_gathers_into_full_batches_in_order() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        async with running(counts, max_batch_size=4) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in range(1, 11)))
            runtime.let(100)
            assert await asyncio.gather(first, *tasks) == [[number] for number in range(11)]
        assert runtime.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
        assert counts.batches == [1, 4, 4, 2]

    asyncio.run(talk())


def test_an_idle_stream_waits_for_more_images_when_told_to() -> None:
    async def talk() -> None:
        runtime = StandIn()
        predictor = predictor_of(runtime)
        # Long enough to be sure that only the full batch ends the wait.
        async with running(max_batch_size=3, max_queue_delay_s=60) as batcher:
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in (1, 2, 3)))
            assert await asyncio.gather(*tasks) == [[1], [2], [3]]
        assert runtime.batches == [[1, 2, 3]]

    asyncio.run(talk())


def test_more_images_are_not_waited_for_longer_than_told() -> None:
    async def talk() -> None:
        runtime = StandIn()
        async with running(max_batch_size=3, max_queue_delay_s=0.01) as batcher:
            assert await ask(batcher, predictor_of(runtime), 1) == [1]

    asyncio.run(talk())


def test_an_idle_stream_waits_for_images_that_are_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServiceTimes, "per_image", lambda *_: 60.0)

    async def talk() -> None:
        runtime = StandIn()
        predictor = predictor_of(runtime)
        async with running(max_batch_size=8) as batcher:
            # Nothing else is in sight: at once.
            assert await ask(batcher, predictor, 1) == [1]
            with batcher.admit(Call(predictor, SOON), 1) as decoding:
                tasks = await queued(batcher, ask(batcher, predictor, 2), ask(batcher, predictor, 3))
                await asyncio.sleep(0.01)
                assert runtime.batches == [[1]]
                await decoding.infer(numbered(4))
            await asyncio.gather(*tasks)
        assert runtime.batches == [[1], [2, 3, 4]]

    asyncio.run(talk())


def test_images_that_cannot_be_decoded_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServiceTimes, "per_image", lambda *_: 60.0)

    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running(max_batch_size=8) as batcher:
            with batcher.admit(Call(predictor, SOON), 1):
                tasks = await queued(batcher, ask(batcher, predictor, 1))
            assert await asyncio.wait_for(tasks[0], WAIT_S) == [1]

    asyncio.run(talk())


@pytest.mark.parametrize(("alone_s", "deadline_s"), [(0.01, 3600), (60, 100)])
def test_images_that_are_being_decoded_are_not_waited_for_too_long(
    alone_s: float, deadline_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServiceTimes, "per_image", lambda *_: alone_s)

    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running(max_batch_size=8, streams=2) as batcher:
            with batcher.admit(Call(predictor, SOON), 1):
                waiting = ask(batcher, predictor, 1, deadline=Deadline.after(deadline_s))
                assert await asyncio.wait_for(waiting, WAIT_S) == [1]

    asyncio.run(talk())


def test_a_caller_who_goes_while_its_image_is_decoded_gives_its_place_back_once() -> None:
    begun, go, decoded = threading.Event(), threading.Event(), threading.Event()

    def decode() -> NDArray[np.uint8]:
        begun.set()
        assert go.wait(WAIT_S)
        decoded.set()
        return numbered(1)

    async def talk() -> None:
        runtime = StandIn()
        predictor = predictor_of(runtime)

        async def upload() -> None:
            with batcher.admit(Call(predictor, SOON), 1) as reservation:
                await reservation.decode_and_infer(decode, pool)

        async with running(max_queue_images=2) as batcher:
            with ThreadPoolExecutor(1) as pool:
                task = asyncio.create_task(upload())
                await until(begun.is_set)
                task.cancel()
                await asyncio.wait([task])
                go.set()
            assert decoded.is_set()
            with batcher.admit(Call(predictor, SOON), 2), pytest.raises(Overloaded):
                batcher.admit(Call(predictor, SOON), 1)
        assert runtime.batches == []

    asyncio.run(talk())


def test_a_caller_who_goes_before_a_thread_is_free_takes_its_image_along() -> None:
    go, decoded = threading.Event(), list[int]()

    def decode(number: int) -> NDArray[np.uint8]:
        assert go.wait(WAIT_S)
        decoded.append(number)
        return numbered(number)

    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running() as batcher:
            with ThreadPoolExecutor(1) as pool, batcher.admit(Call(predictor, SOON), 2) as reservation:
                first, second = (
                    asyncio.create_task(reservation.decode_and_infer(partial(decode, number), pool))
                    for number in (1, 2)
                )
                await asyncio.sleep(0)
                second.cancel()
                await asyncio.wait([second])
                go.set()
                assert numbers_of((await first).output) == [1]
        assert decoded == [1]

    asyncio.run(talk())


def test_an_image_that_no_thread_will_decode_any_more_is_not_waited_for() -> None:
    go = threading.Event()

    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running() as batcher:
            with ThreadPoolExecutor(1) as pool, batcher.admit(Call(predictor, SOON), 1) as reservation:
                pool.submit(go.wait, WAIT_S)
                task = asyncio.create_task(reservation.decode_and_infer(lambda: numbered(1), pool))
                await asyncio.sleep(0)
                pool.shutdown(wait=False, cancel_futures=True)
                await asyncio.wait_for(asyncio.wait([task]), WAIT_S)
                go.set()
                assert task.cancelled()

    asyncio.run(talk())


def test_a_request_of_several_images_is_split_and_joined() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=4) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(
                batcher,
                ask(batcher, predictor, 1, 2, 3),
                ask(batcher, predictor, *range(10, 20)),
                ask(batcher, predictor, 30),
            )
            runtime.let(100)
            assert await asyncio.gather(first, *tasks) == [[0], [1, 2, 3], [*range(10, 20)], [30]]
        assert runtime.batches == [[0], [1, 2, 3, 10], [11, 12, 13, 14], [15, 16, 17, 18], [19, 30]]

    asyncio.run(talk())


def test_several_streams_run_at_the_same_time_and_their_parts_are_joined_in_order() -> None:
    async def talk() -> None:
        class Backwards(StandIn):
            """The first batch ends after the second."""

            second_done = threading.Event()

            def infer(self, images: NDArray[np.uint8]) -> Output:
                output = super().infer(images)
                if numbers_of(output)[0] == 0:
                    assert self.second_done.wait(WAIT_S)
                else:
                    self.second_done.set()
                return output

        async with running(max_batch_size=2, streams=2) as batcher:
            assert await ask(batcher, predictor_of(Backwards()), 0, 1, 2, 3) == [0, 1, 2, 3]

    asyncio.run(talk())


def test_batches_are_padded_to_the_sizes_that_a_runtime_has_compiled() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True, batch_sizes=(1, 4, 8)), Counts()
        predictor = predictor_of(runtime)
        async with running(counts, max_batch_size=32) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in range(1, 12)))
            runtime.let(100)
            assert await asyncio.gather(first, *tasks) == [[number] for number in range(12)]
        assert runtime.batches == [[0], [*range(1, 9)], [9, 10, 11, 0]]
        assert counts.batches == [1, 8, 3]

    asyncio.run(talk())


def test_a_batch_holds_one_model_and_the_model_that_came_first_is_next() -> None:
    async def talk() -> None:
        one, two = StandIn(held=True), StandIn()
        first, second = predictor_of(one), predictor_of(two)
        order: list[int] = []

        async def note(predictor: Predictor, number: int) -> list[int]:
            answer = await ask(batcher, predictor, number)
            order.extend(answer)
            return answer

        async with running(max_batch_size=2) as batcher:
            held = await held_by(batcher, one, first)
            requests = [note(first, 1), note(second, 2), note(first, 3), note(first, 4), note(second, 5)]
            tasks = await queued(batcher, *requests)
            one.let(100)
            await asyncio.gather(held, *tasks)
        assert (one.batches, two.batches) == ([[0], [1, 3], [4]], [[2, 5]])
        assert order == [1, 3, 2, 5, 4]

    asyncio.run(talk())


def test_interactive_work_goes_first_and_bulk_work_keeps_every_eighth_batch() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=1) as batcher:
            first = await held_by(batcher, runtime, predictor)
            bulk = [ask(batcher, predictor, 100 + number, priority=Priority.BULK) for number in range(3)]
            tasks = await queued(batcher, *bulk, *(ask(batcher, predictor, number) for number in range(1, 17)))
            runtime.let(100)
            await asyncio.gather(first, *tasks)
        order = [batch[0] for batch in runtime.batches]
        # The image that held the stream came while no bulk work waited.
        assert order == [0, *range(1, 8), 100, *range(8, 15), 101, 15, 16, 102]
        assert order.index(101) - order.index(100) == BULK_TURN

    asyncio.run(talk())


def test_work_whose_caller_has_gone_is_not_run() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=4, max_queue_images=3) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in (1, 2, 3)))
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            # Its place is free again at once.
            tasks += await queued(batcher, ask(batcher, predictor, 4))
            runtime.let(100)
            answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [*answers[:2], *answers[3:]] == [[0], [1], [3], [4]]
        assert isinstance(answers[2], asyncio.CancelledError)
        assert runtime.batches == [[0], [1, 3, 4]]

    asyncio.run(talk())


def test_the_rest_of_a_large_request_whose_caller_has_gone_is_not_run() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=2) as batcher:
            (task,) = await queued(batcher, ask(batcher, predictor, *range(10)))
            await until(lambda: runtime.batches == [[0, 1]])
            task.cancel()
            await asyncio.wait([task])
            runtime.let(100)
            assert await ask(batcher, predictor, 99) == [99]
        assert runtime.batches == [[0, 1], [99]]

    asyncio.run(talk())


def test_work_whose_deadline_has_passed_is_not_run() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        async with running(counts, max_batch_size=4) as batcher:
            first = await held_by(batcher, runtime, predictor)
            late = Deadline.after(0.05)
            tasks = await queued(batcher, ask(batcher, predictor, 1, deadline=late), ask(batcher, predictor, 2))
            await until(lambda: late.remaining_s < 0)
            runtime.let(100)
            answers = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert isinstance(answers[1], DeadlineExceeded)
            assert [answers[0], answers[2]] == [[0], [2]]
            with pytest.raises(DeadlineExceeded, match=r"within 0\.05 s"):
                await ask(batcher, predictor, 3, deadline=late)
        assert runtime.batches == [[0], [2]]
        assert counts.refusals == ["expired", "expired"]

    asyncio.run(talk())


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        async with running(counts, max_batch_size=4, max_queue_images=3) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, ask(batcher, predictor, 1), ask(batcher, predictor, 2, 3))
            with pytest.raises(Overloaded, match="The queue is full: 3 images") as refusal:
                await ask(batcher, predictor, 4)
            assert refusal.value.limit == "3 images"
            assert refusal.value.counted
            assert refusal.value.retry_after_s > 0
            runtime.let(100)
            await asyncio.gather(first, *tasks)
        assert runtime.batches == [[0], [1, 2, 3]]
        assert counts.refusals == ["queue_full"]

    asyncio.run(talk())


def test_bulk_work_leaves_a_quarter_of_the_queue_to_interactive_work() -> None:
    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running(max_queue_images=8) as batcher:
            with batcher.admit(Call(predictor, SOON, Priority.BULK), 6):
                with pytest.raises(Overloaded, match="The queue is full: 6 images"):
                    batcher.admit(Call(predictor, SOON, Priority.BULK), 1)
                with (
                    batcher.admit(Call(predictor, SOON), 2),
                    pytest.raises(Overloaded, match="The queue is full: 8 images"),
                ):
                    batcher.admit(Call(predictor, SOON), 1)

    asyncio.run(talk())


def test_images_that_are_being_decoded_have_places_in_the_queue() -> None:
    async def talk() -> None:
        predictor = predictor_of(StandIn())
        async with running(max_queue_images=3) as batcher:
            with batcher.admit(Call(predictor, SOON), 3) as reservation:
                with pytest.raises(Overloaded):
                    batcher.admit(Call(predictor, SOON), 1)
                await reservation.infer(numbered(1))
                with batcher.admit(Call(predictor, SOON), 1), pytest.raises(Overloaded):
                    batcher.admit(Call(predictor, SOON), 1)
            with batcher.admit(Call(predictor, SOON), 3):
                pass

    asyncio.run(talk())


def test_a_request_larger_than_the_queue_is_taken_while_nothing_waits() -> None:
    async def talk() -> None:
        async with running(max_batch_size=2, max_queue_images=3) as batcher:
            assert await ask(batcher, predictor_of(StandIn()), *range(5)) == [*range(5)]

    asyncio.run(talk())


async def teach(batcher: Batcher, runtime: StandIn, predictor: Predictor, seconds: float) -> None:
    """Lets the batcher measure a first image that takes about `seconds`, and then holds the stream with the image 0."""
    (task,) = await queued(batcher, ask(batcher, predictor, 99))
    await until(lambda: runtime.batches == [[99]])
    await asyncio.sleep(seconds)
    runtime.let()
    await task
    runtime.batches.clear()


def test_work_that_would_come_too_late_is_refused_at_once() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        async with running(counts, max_batch_size=1) as batcher:
            await teach(batcher, runtime, predictor, 0.2)
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in range(1, 11)))
            # Ten images of at least 0.2 s wait.
            with pytest.raises(Overloaded, match="allow more time") as refusal:
                await ask(batcher, predictor, 50, deadline=Deadline.after(1))
            assert refusal.value.retry_after_s >= 2
            tasks += await queued(batcher, ask(batcher, predictor, 11, deadline=Deadline.after(3600)))
            # Bulk work does not stand in the way of interactive work, but the other way round.
            tasks += await queued(batcher, ask(batcher, predictor, 12, priority=Priority.BULK))
            with pytest.raises(Overloaded):
                await ask(batcher, predictor, 51, deadline=Deadline.after(1), priority=Priority.BULK)
            runtime.let(100)
            await asyncio.gather(first, *tasks)
        assert not {50, 51}.intersection(*runtime.batches)
        assert counts.refusals == ["deadline", "deadline"]

    asyncio.run(talk())


def test_interactive_work_does_not_count_the_bulk_work_that_it_overtakes() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=1) as batcher:
            await teach(batcher, runtime, predictor, 0.2)
            tasks = [await held_by(batcher, runtime, predictor)]
            tasks += await queued(
                batcher, *(ask(batcher, predictor, 100 + number, priority=Priority.BULK) for number in range(50))
            )
            # The bulk work takes at least 10 s.
            tasks += await queued(batcher, ask(batcher, predictor, 1, deadline=Deadline.after(9)))
            runtime.let(100)
            assert (await asyncio.gather(*tasks))[-1] == [1]

    asyncio.run(talk())


def test_an_idle_stream_is_tried_whatever_was_measured_before() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=1) as batcher:
            await teach(batcher, runtime, predictor, 0.5)
            runtime.let(100)
            assert await ask(batcher, predictor, 1, deadline=Deadline.after(0.4)) == [1]

    asyncio.run(talk())


def test_a_poisoned_request_fails_alone() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True, poison=[5, 21])
        predictor = predictor_of(runtime)
        async with running(max_batch_size=16) as batcher:
            first = await held_by(batcher, runtime, predictor)
            requests = [ask(batcher, predictor, number) for number in range(1, 9)]
            tasks = await queued(batcher, *requests, ask(batcher, predictor, 20, 21, 22))
            runtime.let(100)
            answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [answer for answer in answers if isinstance(answer, list)] == [[n] for n in range(9) if n != 5]
        assert isinstance(answers[5], InferenceFailed)
        assert isinstance(answers[9], InferenceFailed)

    asyncio.run(talk())


def test_the_rest_of_a_large_poisoned_request_is_not_run() -> None:
    async def talk() -> None:
        runtime = StandIn(poison=[1])
        predictor = predictor_of(runtime)
        async with running(max_batch_size=2) as batcher:
            with pytest.raises(InferenceFailed):
                await ask(batcher, predictor, *range(10))
            assert await ask(batcher, predictor, 50) == [50]
        assert runtime.batches == [[0, 1], [50]]

    asyncio.run(talk())


def test_an_answer_with_a_row_missing_is_a_failure_and_not_somebody_elses_answer() -> None:
    async def talk() -> None:
        class Short(StandIn):
            def infer(self, images: NDArray[np.uint8]) -> Output:
                output = super().infer(images)
                return output.rows(0, len(images) - 1) if 3 in numbers_of(output) else output

        runtime = Short(held=True)
        predictor = predictor_of(runtime)
        async with running(max_batch_size=4) as batcher:
            first = await held_by(batcher, runtime, predictor)
            tasks = await queued(batcher, *(ask(batcher, predictor, number) for number in range(1, 5)))
            runtime.let(100)
            answers = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert [*answers[:3], answers[4]] == [[0], [1], [2], [4]]
        assert isinstance(answers[3], InferenceFailed)

    asyncio.run(talk())


def test_draining_answers_what_was_accepted_and_refuses_the_rest() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        batcher = Batcher(Batching(max_batch_size=2), counts)
        batcher.start()
        with batcher.admit(Call(predictor, SOON), 1) as decoding:
            tasks = [await held_by(batcher, runtime, predictor)]
            tasks += await queued(batcher, *(ask(batcher, predictor, number) for number in (1, 2, 3)))
            draining = asyncio.create_task(batcher.drain(WAIT_S))
            await asyncio.sleep(0)
            with pytest.raises(NotReady, match="shutting down"):
                await ask(batcher, predictor, 4)
            runtime.let(100)
            assert await asyncio.gather(*tasks) == [[0], [1], [2], [3]]
            assert not draining.done()
            # Accepted before, decoded only now.
            assert numbers_of((await decoding.infer(numbered(9))).output) == [9]
        assert await draining is True
        assert counts.refusals == ["draining"]
        assert not [thread for thread in threading.enumerate() if thread.name == "infer-0" and not thread.daemon]

    asyncio.run(talk())


def test_draining_ends_after_the_grace_even_if_the_network_hangs() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        predictor = predictor_of(runtime)
        batcher = Batcher(Batching())
        batcher.start()
        task = await held_by(batcher, runtime, predictor)
        assert await batcher.drain(0.05) is False
        runtime.let()
        assert await task == [0]

    asyncio.run(talk())


def test_draining_waits_for_a_batch_whose_caller_has_gone() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        batcher = Batcher(Batching())
        batcher.start()
        task = await held_by(batcher, runtime, predictor_of(runtime))
        task.cancel()
        draining = asyncio.create_task(batcher.drain(WAIT_S))
        await asyncio.wait((draining,), timeout=0.2)
        # The stream would deliver to an event loop that is closed.
        assert not draining.done()
        runtime.let()
        assert await draining is True
        assert batcher.alive

    asyncio.run(talk())


def test_a_stream_that_dies_shows_and_its_callers_are_told() -> None:
    async def talk() -> None:
        runtime = StandIn(held=True, poison=[0])
        runtime.fault = SystemExit("native library")
        predictor = predictor_of(runtime)
        async with running(max_batch_size=1) as batcher:
            assert batcher.alive
            tasks = [await held_by(batcher, runtime, predictor)]
            tasks += await queued(batcher, ask(batcher, predictor, 1))
            runtime.let(100)
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(answer) for answer in answers] == [NotReady, NotReady]
            assert not batcher.alive
            with pytest.raises(NotReady):
                await ask(batcher, predictor, 2)

    asyncio.run(talk())


def test_a_batch_that_never_ends_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        runtime = StandIn(held=True)
        async with running() as batcher:
            task = await held_by(batcher, runtime, predictor_of(runtime))
            assert batcher.alive
            monkeypatch.setattr("brainmri.batching.streams.STUCK_S", 0)
            assert not batcher.alive
            runtime.let()
            await task
            assert batcher.alive

    asyncio.run(talk())


def test_a_model_is_released_after_its_last_request() -> None:
    async def talk() -> None:
        async with running() as batcher:
            predictor = predictor_of(StandIn())
            await ask(batcher, predictor, 1)
            trace = weakref.ref(predictor)
            del predictor
            gc.collect()
            await until(lambda: trace() is None)

    asyncio.run(talk())


def test_the_observer_learns_the_queue() -> None:
    async def talk() -> None:
        runtime, counts = StandIn(held=True), Counts()
        predictor = predictor_of(runtime)
        async with running(counts) as batcher:
            tasks = [await held_by(batcher, runtime, predictor)]
            tasks += await queued(batcher, ask(batcher, predictor, 1, 2))
            with batcher.admit(Call(predictor, SOON), 1):
                await until(lambda: counts.in_flight[-1] == 4)
                waiting, age_s = counts.queue[-1]
                assert waiting == 2
                assert age_s > 0
            runtime.let(100)
            await asyncio.gather(*tasks)
        assert (counts.queue[-1], counts.in_flight[-1]) == ((0, 0.0), 0)

    asyncio.run(talk())


def test_a_hundred_thousand_requests_without_one_crossed_answer() -> None:
    async def caller(batcher: Batcher, predictor: Predictor, numbers: range) -> int:
        for number in numbers:
            assert await ask(batcher, predictor, number) == [number]
        return len(numbers)

    async def talk() -> int:
        runtime = StandIn()
        predictor = predictor_of(runtime)
        async with running(max_batch_size=128, max_queue_images=1000, streams=2) as batcher:
            callers = [caller(batcher, predictor, range(first, 100_000, 1000)) for first in range(1000)]
            return sum(await asyncio.gather(*callers))

    assert asyncio.run(talk()) == 100_000
