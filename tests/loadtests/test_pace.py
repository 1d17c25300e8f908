import time

import gevent

from loadtests.pace import MOST_UNDER_WAY, ClosedLoop, OpenLoop


def test_latency_in_an_open_loop_counts_from_the_time_at_which_a_request_was_due() -> None:
    pace = OpenLoop(100, seed=1)
    waited = []
    for number in range(60):
        gevent.sleep(pace.wait_s())
        if number == 20:
            time.sleep(0.3)  # everything stands still; about 30 arrivals fall due meanwhile
        assert pace.send(lambda due: waited.append(time.perf_counter() - due))
    pace.finish(5)
    assert len(waited) == 60
    # A loop that waits for its turn would have seen one slow request.
    assert sum(one > 0.05 for one in waited) > 10
    assert max(waited) > 0.25


def test_an_open_loop_waits_for_no_answer_and_does_not_pile_up_without_end() -> None:
    pace = OpenLoop(1000, seed=1)
    sent = [pace.send(lambda _: gevent.sleep(30)) for _ in range(MOST_UNDER_WAY + 2)]
    assert sent == [True] * MOST_UNDER_WAY + [False, False]
    begun = time.perf_counter()
    pace.finish(0.1)
    assert time.perf_counter() - begun < 5


def test_arrivals_of_an_open_loop_have_the_rate_that_is_asked_for() -> None:
    pace = OpenLoop(50_000, seed=1)
    begun = time.perf_counter()
    waits = [pace.wait_s() for _ in range(20_000)]
    # The last arrival is due after 20,000 / 50,000 s = 0.4 s, within four standard deviations of 0.0028 s.
    assert abs(time.perf_counter() - begun + waits[-1] - 0.4) < 0.012 or waits[-1] == 0


def test_a_closed_loop_sends_one_request_after_the_other() -> None:
    pace = ClosedLoop(think_s=0.25)
    seen: list[float] = []
    assert pace.send(seen.append)
    assert abs(seen[0] - time.perf_counter()) < 1
    assert pace.wait_s() == 0.25


def test_a_closed_loop_that_is_ended_still_gets_the_answer_to_what_it_has_sent() -> None:
    pace, answered = ClosedLoop(), []

    def exchange(due: float) -> None:
        gevent.sleep(0.2)
        answered.append(due)

    user = gevent.spawn(pace.send, exchange)
    gevent.sleep(0.05)
    user.kill()
    assert answered == []
    pace.finish(5)
    assert len(answered) == 1
