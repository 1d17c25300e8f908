"""Which requests a batch gets, and that none of them is lost; without OpenVINO."""

import queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.model.runtimes import openvino_requests
from brainmri.model.runtimes.openvino_requests import ANY, Requests, run

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 2, 2, 3), np.uint8)


def queued(*names: str) -> "queue.SimpleQueue[Any]":
    free: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for name in names:
        free.put(name)
    return free


@pytest.fixture
def requests() -> Requests:
    """Two streams, a network for one image and one for full batches of 8."""
    return Requests({ANY: queued("any", "any"), 8: queued("full", "full"), 1: queued("one")})


@pytest.mark.parametrize(
    ("images", "lent"), [(1, ["one"]), (2, ["any", "any"]), (5, ["any", "any"]), (8, ["any", "any"])]
)
def test_alone_one_image_has_its_network_and_a_batch_all_streams(
    requests: Requests, images: int, lent: list[str]
) -> None:
    for _ in range(3):
        with requests.borrow(images) as borrowed:
            assert borrowed == lent


@pytest.mark.parametrize(("images", "lent"), [(1, "any"), (5, "any"), (8, "full")])
def test_beside_another_a_batch_has_one_stream(requests: Requests, images: int, lent: str) -> None:
    with requests.borrow(1) as first, requests.borrow(images) as second:
        assert (first, second) == (["one"], [lent])


def test_company_is_expected_for_a_while(requests: Requests, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(openvino_requests, "time", SimpleNamespace(monotonic=lambda: now))
    with requests.borrow(1), requests.borrow(1):
        pass
    for later, lent in ((0.0, ["any"]), (0.09, ["any"]), (0.02, ["one"])):
        now += later
        with requests.borrow(1) as borrowed:
            assert borrowed == lent


def test_one_network_serves_every_size() -> None:
    requests = Requests({ANY: queued("any")})
    for images in (1, 2, 8):
        with requests.borrow(images) as borrowed:
            assert borrowed == ["any"]


def test_what_was_lent_comes_back_after_a_failure(requests: Requests) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken"), requests.borrow(2):
            raise RuntimeError("broken")
    with requests.borrow(2) as borrowed:
        assert borrowed == ["any", "any"]


class Stub:
    """A request that answers with the values of its images, or fails in one of its two steps."""

    def __init__(self, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.waited = False
        self.results: list[int] = []

    def infer(self, inputs: dict[int, NDArray[np.uint8]], share_inputs: bool) -> list[int]:
        self.start_async(inputs, share_inputs)
        self.wait()
        return self.results

    def start_async(self, inputs: dict[int, NDArray[np.uint8]], share_inputs: bool) -> None:
        assert share_inputs
        if self.fails_in == "start":
            raise RuntimeError("start")
        self.results = inputs[0][:, 0, 0, 0].tolist()

    def wait(self) -> None:
        self.waited = True
        if self.fails_in == "wait":
            raise RuntimeError("wait")


@pytest.mark.parametrize(("count", "parts"), [(1, [[0, 1, 2, 3, 4]]), (2, [[0, 1, 2], [3, 4]])])
def test_a_batch_is_divided_in_order(count: int, parts: list[list[int]]) -> None:
    assert run([Stub() for _ in range(count)], IMAGES) == parts


@pytest.mark.parametrize("step", ["start", "wait"])
def test_parts_that_were_started_are_waited_for_when_another_fails(step: str) -> None:
    first, second = Stub(), Stub(fails_in=step)
    with pytest.raises(RuntimeError, match=step):
        run([first, second], IMAGES)
    assert first.waited
