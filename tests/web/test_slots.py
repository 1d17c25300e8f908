from contextlib import ExitStack
from typing import Any

import pytest
from starlette.requests import Request

from brainmri.errors import TooManyJobs
from brainmri.web.slots import Slots, client_of


def refused(slots: Slots, client: str) -> TooManyJobs:
    with pytest.raises(TooManyJobs) as caught, slots.one(client):
        pass
    return caught.value


def test_one_client_leaves_room_for_another() -> None:
    slots = Slots(4)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(slots.one("a"))
        error = refused(slots, "a")
        assert (error.limit, error.retry_after_s) == ("3 requests", 60)
        assert "3 bulk requests of yours are under way" in error.message
        with slots.one("b"):
            assert refused(slots, "c").limit == "4 requests"
    with slots.one("a"):
        pass


@pytest.mark.parametrize(("most", "share", "expected"), [(1, 0, 1), (2, 0, 1), (4, 4, 4), (4, 1, 1)])
def test_a_client_has_its_share(most: int, share: int, expected: int) -> None:
    slots = Slots(most, share)
    with ExitStack() as held:
        for _ in range(expected):
            held.enter_context(slots.one("a"))
        refused(slots, "a")


@pytest.mark.parametrize(
    ("state", "client", "expected"),
    [
        ({"key_name": "ward"}, ("10.0.0.1", 5), "key ward"),
        ({"key_name": None}, ("10.0.0.1", 5), "address 10.0.0.1"),
        ({}, ("10.0.0.1", 6), "address 10.0.0.1"),
        ({}, None, ""),
    ],
)
def test_a_client_is_its_key_or_its_address(
    state: dict[str, Any], client: tuple[str, int] | None, expected: str
) -> None:
    assert client_of(Request({"type": "http", "client": client, "state": state})) == expected
