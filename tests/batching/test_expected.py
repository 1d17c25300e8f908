import asyncio

import pytest

from brainmri.batching import expected
from brainmri.batching.expected import Expected


def test_a_request_counts_until_it_arrives() -> None:
    crowd = Expected()
    with crowd.one():
        assert len(crowd) == 1
        with crowd.one():
            assert len(crowd) == 2
            crowd.arrive()
            assert len(crowd) == 1
        # The inner one has arrived; the outer one is still expected.
        assert len(crowd) == 1
    assert len(crowd) == 0


def test_whoever_leaves_without_arriving_counts_no_longer() -> None:
    crowd = Expected()
    with pytest.raises(KeyError), crowd.one():
        raise KeyError
    assert len(crowd) == 0


def test_a_slow_upload_stops_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expected, "PATIENCE_S", -1.0)
    crowd = Expected()
    with crowd.one():
        assert len(crowd) == 0
        crowd.arrive()


def test_arrival_outside_of_any_request_changes_nothing() -> None:
    crowd = Expected()
    crowd.arrive()
    assert len(crowd) == 0


def test_a_task_of_the_request_arrives_for_it() -> None:
    async def scenario() -> tuple[int, int]:
        crowd = Expected()

        async def arrive() -> None:
            crowd.arrive()

        with crowd.one():
            before = len(crowd)
            await asyncio.create_task(arrive())
            return before, len(crowd)

    assert asyncio.run(scenario()) == (1, 0)
