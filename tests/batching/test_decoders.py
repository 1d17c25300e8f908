import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait

import pytest

from brainmri.batching.reservation import Decoders
from brainmri.imaging.memory import ORDINARY_BYTES, holding

SOON_S = 20


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    pool = Decoders(1)
    yield pool
    pool.shutdown()


def ordinary() -> str:
    with holding(ORDINARY_BYTES):
        return threading.current_thread().name


def large(until: threading.Event | None = None) -> str:
    with holding(ORDINARY_BYTES + 1):
        if until is not None:
            assert until.wait(SOON_S)
        return threading.current_thread().name


def test_large_images_have_a_thread_of_their_own(decoders: Decoders) -> None:
    assert decoders.submit(ordinary).result(SOON_S) == "decode_0"
    assert decoders.submit(large).result(SOON_S) == "decode-large_0"


def test_an_ordinary_image_is_decoded_while_many_large_ones_wait(decoders: Decoders) -> None:
    go_on = threading.Event()
    waiting = [decoders.submit(large, go_on) for _ in range(50)]
    assert decoders.submit(ordinary).result(SOON_S) == "decode_0"
    assert not any(future.done() for future in waiting)
    go_on.set()
    assert {future.result(SOON_S) for future in waiting} == {"decode-large_0"}


def test_a_large_image_whose_caller_has_gone_is_not_decoded(decoders: Decoders) -> None:
    go_on, decoded = threading.Event(), []
    first = decoders.submit(large, go_on)
    second = decoders.submit(lambda: decoded.append(large()))
    decoders.submit(ordinary).result(SOON_S)
    assert second.cancel()
    go_on.set()
    assert first.result(SOON_S) == "decode-large_0"
    assert decoders.submit(large).result(SOON_S) == "decode-large_0"
    assert decoded == []


def test_what_decoding_raises_is_the_outcome(decoders: Decoders) -> None:
    with pytest.raises(ZeroDivisionError):
        decoders.submit(lambda: 1 // 0).result(SOON_S)


def test_work_that_waits_at_the_end_is_cancelled() -> None:
    decoders, go_on = Decoders(1), threading.Event()
    begun = [decoders.submit(large, go_on), decoders.submit(ordinary)]
    begun[1].result(SOON_S)
    waiting = decoders.submit(large)
    time.sleep(0.05)
    decoders.shutdown(wait=False, cancel_futures=True)
    go_on.set()
    with pytest.raises(CancelledError):
        waiting.result(SOON_S)
    wait(begun, SOON_S)
    with pytest.raises(CancelledError):
        decoders.submit(ordinary).result(SOON_S)


def test_elsewhere_a_large_image_waits_for_its_turn() -> None:
    assert large() == threading.current_thread().name
