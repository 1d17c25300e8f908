"""Tests of the load generator against toy servers on loopback ports."""

from statistics import mean

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from benchmarks.load import arrivals, load_process, send
from benchmarks.messages import INFER, upload
from benchmarks.traffic import LEFT, LOST, UNANSWERED, ClosedLoop, Flow, Item, OpenLoop
from tests.benchmarks.toy import grpc_server, http_server, response

VERDICT = b'{"verdict":"glioma","x":1}'
CLASS_2 = np.array([[0.1, 0.2, 0.6, 0.1]], np.float32).tobytes()


def test_a_closed_loop_sends_one_request_a_client_at_a_time_on_one_connection() -> None:
    with http_server(lambda _: response(200, VERDICT), delay_s=0.05) as toy:
        items = [Item(upload(b"one"), "glioma"), Item(upload(b"two"), "pituitary")]
        load = send([Flow("f", toy.port, items, ClosedLoop(3))], 0.5)
    record = load.records[0]
    assert toy.connections == 3
    assert len(record.exchanges) == len(toy.received) >= 3
    assert record.statuses() == {"200": len(record.exchanges)}
    assert all(one.latency_s >= 0.04 for one in record.exchanges)
    # Items are sent in turn, and only the second expects what it does not get.
    assert {one.item for one in record.exchanges} == {0, 1}
    assert {one.item for one in record.wrong(items)} == {1}
    # No more than three requests overlap.
    for one in record.exchanges:
        overlapping = [o for o in record.exchanges if o.due_s <= one.due_s < o.due_s + o.latency_s]
        assert len(overlapping) <= 3
    assert load.cpu_s > 0


def test_an_open_loop_sends_at_its_own_pace_whatever_the_server_does() -> None:
    with http_server(lambda _: response(200, VERDICT), delay_s=0.3) as toy:
        schedule = OpenLoop(100, seed=1)
        record = send([Flow("f", toy.port, [Item(upload(b"x"))], schedule)], 1).records[0]
    due = sorted(one.due_s for one in record.exchanges)
    assert due == list(arrivals(schedule, 0, 1))
    assert record.unsent == 0
    assert record.statuses() == {"200": len(due)}


def test_an_open_loop_does_not_send_more_than_it_may_have_in_flight() -> None:
    with http_server(lambda _: response(200, VERDICT), delay_s=30) as toy:
        schedule = OpenLoop(100, seed=1, most_in_flight=5)
        record = send([Flow("f", toy.port, [Item(upload(b"x"))], schedule)], 0.5, grace_s=0.2).records[0]
    assert record.statuses() == {UNANSWERED: 5}
    assert record.unsent == len(list(arrivals(schedule, 0, 0.5))) - 5


def test_arrivals_are_random_repeatable_and_have_the_rate() -> None:
    times = list(arrivals(OpenLoop(50, seed=3), 10, 110))
    assert times == list(arrivals(OpenLoop(50, seed=3), 10, 110))
    assert times != list(arrivals(OpenLoop(50, seed=4), 10, 110))
    assert times[0] > 10
    assert times[-1] < 110
    gaps = np.diff(times)
    assert mean(gaps) == pytest.approx(1 / 50, rel=0.05)
    # In a Poisson process the gaps vary as much as they last.
    assert np.std(gaps) == pytest.approx(1 / 50, rel=0.1)


def test_a_flow_begins_and_ends_when_it_is_told_to() -> None:
    with http_server(lambda _: response(200, VERDICT)) as toy:
        flow = Flow("f", toy.port, [Item(upload(b"x"))], OpenLoop(200), start_s=0.3, end_s=0.6)
        record = send([flow], 0.9).records[0]
    due = [one.due_s for one in record.exchanges]
    assert due
    assert min(due) >= 0.3
    assert max(due) < 0.6


def test_a_refusal_is_recorded_with_its_status_code_and_retry_time() -> None:
    refusal = response(429, b'{"error":{"code":"overloaded"}}', "Retry-After: 7\r\n")
    with http_server(lambda _: refusal) as toy:
        record = send([Flow("f", toy.port, [Item(upload(b"x"))], OpenLoop(30))], 0.3).records[0]
    assert {(one.status, one.retry_after_s, one.answer, one.good) for one in record.exchanges} == {
        ("429", 7.0, "overloaded", False)
    }


@pytest.mark.parametrize("reply", [None, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_a_connection_that_breaks_or_an_answer_not_understood_is_lost_and_the_next_one_is_new(
    reply: bytes | None,
) -> None:
    with http_server(lambda _: reply) as toy:
        record = send([Flow("f", toy.port, [Item(upload(b"x"))], OpenLoop(30))], 0.3).records[0]
        assert set(record.statuses()) == {LOST}
        assert toy.connections == len(record.exchanges)


def test_nobody_listening_is_lost() -> None:
    with http_server(lambda _: None) as toy:
        pass
    record = send([Flow("f", toy.port, [Item(upload(b"x"))], OpenLoop(30))], 0.3).records[0]
    assert set(record.statuses()) == {LOST}


def test_a_server_that_closes_after_its_answer_is_followed() -> None:
    with http_server(lambda _: response(200, VERDICT, "Connection: close\r\n")) as toy:
        record = send([Flow("f", toy.port, [Item(upload(b"x"))], ClosedLoop(1))], 0.3).records[0]
        assert record.statuses() == {"200": toy.connections}


def test_a_slow_client_pauses_and_its_request_is_whole() -> None:
    with http_server(lambda _: response(200, VERDICT)) as toy:
        flow = Flow("f", toy.port, [Item(upload(b"x" * 1000), "glioma")], OpenLoop(20), manner="slow")
        record = send([flow], 0.2).records[0]
    assert record.exchanges
    # 1.5 s of pauses; a timer may be a little early.
    assert all(one.latency_s > 1.4 for one in record.exchanges)
    assert not record.wrong(flow.items)
    assert all(b"x" * 1000 in body for body in toy.received)


def test_a_client_that_leaves_has_no_answer_and_no_connection_any_more() -> None:
    with http_server(lambda _: response(200, VERDICT), delay_s=0.2) as toy:
        flow = Flow("f", toy.port, [Item(upload(b"x"))], OpenLoop(30), manner="leave")
        record = send([flow], 0.4).records[0]
    assert record.statuses() == {LEFT: len(list(arrivals(OpenLoop(30), 0, 0.4)))}
    assert {(one.answer, one.good) for one in record.exchanges} == {("", False)}
    # Each on a connection of its own, which the client had closed when the answer was due.
    assert toy.connections == len(record.exchanges)


def test_grpc_messages_go_through_and_codes_come_back() -> None:
    answer = service_pb2.ModelInferResponse(raw_output_contents=[CLASS_2]).SerializeToString()

    def reply(message: bytes, context: grpc.ServicerContext) -> bytes:
        if message == b"busy":
            context.set_trailing_metadata((("retry-after", "3"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Busy.")
        return bytes(answer)

    with grpc_server(INFER, reply) as toy:
        items = [Item(b"image", "notumor"), Item(b"busy")]
        flow = Flow("f", toy.port, items, ClosedLoop(2), "grpc_probabilities", INFER)
        record = send([flow], 0.5).records[0]
    seen = {(one.item, one.status, one.retry_after_s, one.answer) for one in record.exchanges}
    assert seen == {(0, "OK", None, "notumor"), (1, "RESOURCE_EXHAUSTED", 3.0, "")}
    assert set(toy.received) == {b"image", b"busy"}


def test_the_generator_runs_in_a_process_of_its_own() -> None:
    with http_server(lambda _: response(200, VERDICT)) as toy, load_process() as process:
        items = [Item(upload(b"x"), "glioma")]
        load = process.run([Flow("f", toy.port, items, OpenLoop(20))], 0.3)
    assert load.records[0].exchanges
    assert load.records[0].wrong(items) == []
    assert load.cpu_ms_per_request > 0
