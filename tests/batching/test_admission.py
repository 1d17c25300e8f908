import asyncio
from contextlib import ExitStack

import pytest

from brainmri.batching import admission as admission_module
from brainmri.batching.admission import Admission, AdmissionLimits, UnderWay, Work
from brainmri.errors import Overloaded, TooManyJobs
from brainmri.settings import Settings

LIMITS = AdmissionLimits(
    tensor_requests=2, bulk_requests=4, bulk_requests_per_client=0, held_bytes=100, messages=1, previews=1
)


class Queue:
    """Has room for so many requests; notes for how many it was asked."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.asked: list[int] = []

    def __call__(self, requests: int) -> None:
        self.asked.append(requests)
        if requests > self.room:
            raise Overloaded("The queue is full.", retry_after_s=1.5, limit="1 images")


def admission_of(queue: Queue | None = None, **limits: int) -> Admission:
    return Admission(AdmissionLimits(**{**vars(LIMITS), **limits}), queue or Queue())


def test_a_prediction_is_expected_until_it_asks_the_queue_itself() -> None:
    queue = Queue()
    admission = admission_of(queue)
    with admission.admit(Work.PREDICTION):
        with admission.admit(Work.PREDICTION) as second:
            assert admission.expected == 2
            second.arrive()
            assert admission.expected == 1
        assert admission.expected == 1
    assert admission.expected == 0
    assert queue.asked == [1, 2]


def test_more_requests_at_once_than_the_queue_has_room_for_are_refused_unread() -> None:
    admission = admission_of(Queue(room=1))
    with admission.admit(Work.PREDICTION):
        with pytest.raises(Overloaded, match="The queue is full"):
            admission.admit(Work.PREDICTION)
        with admission.admit(Work.OTHER), admission.admit(Work.BULK):
            assert admission.expected == 1
    with admission.admit(Work.PREDICTION):
        assert admission.expected == 1


def test_a_request_that_fails_is_expected_no_longer() -> None:
    admission = admission_of()
    with pytest.raises(KeyError), admission.admit(Work.PREDICTION):
        raise KeyError
    assert admission.expected == 0


def test_a_slow_upload_stops_counting_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "EXPECTED_S", -1.0)
    admission = admission_of()
    with admission.admit(Work.PREDICTION) as admitted:
        assert admission.expected == 0
        admitted.arrive()


def test_requests_with_tensors_are_counted_over_all_interfaces() -> None:
    admission = admission_of()
    with admission.tensors():
        with admission.tensors(), pytest.raises(Overloaded) as caught, admission.tensors():
            pass
        with admission.tensors():
            pass
    assert (caught.value.limit, caught.value.retry_after_s) == ("2 requests", 1)


def refused(admission: Admission, client: str) -> TooManyJobs:
    with pytest.raises(TooManyJobs) as caught:
        admission.admit(Work.BULK, client)
    return caught.value


def test_one_client_leaves_room_for_another() -> None:
    admission = admission_of()
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(admission.admit(Work.BULK, "a"))
        error = refused(admission, "a")
        assert (error.limit, error.retry_after_s) == ("3 requests", 60)
        assert "3 bulk requests of yours are under way" in error.message
        with admission.admit(Work.BULK, "b"):
            assert refused(admission, "c").limit == "4 requests"
    with admission.admit(Work.BULK, "a"):
        pass


@pytest.mark.parametrize(("most", "share", "expected"), [(1, 0, 1), (2, 0, 1), (4, 4, 4), (4, 1, 1)])
def test_a_client_has_its_share(most: int, share: int, expected: int) -> None:
    admission = admission_of(bulk_requests=most, bulk_requests_per_client=share)
    with ExitStack() as held:
        for _ in range(expected):
            held.enter_context(admission.admit(Work.BULK, "a"))
        refused(admission, "a")


def test_what_a_request_holds_in_memory_is_free_when_it_ends() -> None:
    admission = admission_of()
    with admission.admit(Work.OTHER) as first, admission.admit(Work.OTHER) as second:
        first.hold(60)
        second.hold(30)
        with pytest.raises(Overloaded) as caught:
            second.hold(30)
        assert (caught.value.limit, caught.value.retry_after_s) == ("100 bytes", 1)
        first.give_back(50)
        second.hold(30)
        assert admission.held_bytes == 70
    assert admission.held_bytes == 0


def test_a_request_that_is_alone_may_hold_more_than_all_together_may() -> None:
    admission = admission_of()
    with admission.admit(Work.OTHER) as alone:
        alone.hold(90)
        alone.hold(90)
        with admission.admit(Work.OTHER) as second, pytest.raises(Overloaded, match="more than 100 bytes"):
            second.hold(1)
    assert admission.held_bytes == 0


def test_a_place_of_a_stream_is_free_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "MAX_STREAMS", 0)
    monkeypatch.setattr(admission_module, "_MORE_RPCS", 0)
    admission = admission_of()
    for _ in range(3):
        with admission.admit_rpc(Work.STREAM), admission.admit_rpc(Work.STREAM), pytest.raises(Overloaded) as caught:
            admission.admit_rpc(Work.STREAM)
        assert caught.value.retry_after_s == 1


def test_more_previews_than_are_taken_are_refused_with_their_limit() -> None:
    admission = admission_of()
    for _ in range(2):
        with admission.previews.one("a"), pytest.raises(Overloaded) as caught:
            admission.previews.take("b")
        assert (caught.value.limit, caught.value.retry_after_s) == ("1 previews", 1)
        assert caught.value.message.startswith("1 previews are under way")


def test_a_client_with_nothing_under_way_is_forgotten() -> None:
    slots = admission_of(previews=2).previews
    give_back, again = slots.take("a"), slots.take("a")
    give_back()
    assert slots._taken == {"a": 1}
    again()
    assert "a" not in slots._taken


def test_the_messages_of_grpc_take_half_of_what_bodies_may_hold() -> None:
    settings = Settings(max_held_bytes=601, max_request_bytes=100)
    assert AdmissionLimits.of(settings).messages == 3
    assert AdmissionLimits.of(Settings(max_held_bytes=100, max_request_bytes=100)).messages == 1


def test_the_end_waits_until_no_call_is_under_way() -> None:
    async def talk() -> None:
        calls = UnderWay()
        await calls.wait_until_none()
        calls.enter()
        calls.enter()
        waiting = asyncio.create_task(calls.wait_until_none())
        calls.leave()
        await asyncio.sleep(0)
        assert not waiting.done()
        calls.leave()
        await asyncio.wait_for(waiting, 60)
        assert len(calls) == 0

    asyncio.run(talk())


def test_calls_and_streams_of_grpc_have_one_limit_and_only_calls_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission_module, "MAX_STREAMS", 0)
    monkeypatch.setattr(admission_module, "_MORE_RPCS", 0)
    admission = admission_of()
    with admission.admit_rpc(Work.STREAM):
        with admission.admit_rpc(Work.OTHER):
            assert len(admission.rpcs) == 1
            with pytest.raises(Overloaded, match="2 requests are under way"):
                admission.admit_rpc(Work.PREDICTION)
        assert len(admission.rpcs) == 0
        with admission.admit_rpc(Work.PREDICTION):
            assert (len(admission.rpcs), admission.expected) == (1, 1)
    assert admission.expected == 0


def test_a_call_of_grpc_that_the_queue_refuses_counts_nowhere() -> None:
    admission = admission_of(Queue(room=0))
    with pytest.raises(Overloaded):
        admission.admit_rpc(Work.PREDICTION)
    assert (len(admission.rpcs), admission.expected) == (0, 0)


def test_the_limits_come_from_the_settings() -> None:
    settings = Settings(
        max_queue_images=5, max_batch_size=2, max_bulk_requests=3, max_bulk_requests_per_client=1, max_held_bytes=9
    )
    assert AdmissionLimits.of(settings) == AdmissionLimits(7, 3, 1, 9, 1, 5)
