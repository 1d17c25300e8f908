"""What runs before a model is served."""

import threading
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.model.warm_up import warm_up

MEET_S = 0.5


class Streams:
    """A runtime that counts, by batch size, the runs that were alone and those that met another."""

    def __init__(self, streams: int) -> None:
        self.info = RuntimeInfo("openvino-f32", "f32", 1, streams=streams)
        self.alone, self.together = Counter[int](), Counter[int]()
        self._meeting = threading.Barrier(2)

    def infer(self, images: NDArray[np.uint8]) -> Output:
        try:
            self._meeting.wait(MEET_S)
            self.together[len(images)] += 1
        except threading.BrokenBarrierError:
            self._meeting.reset()
            self.alone[len(images)] += 1
        return Output(np.zeros((len(images), 4), np.float32), np.zeros((len(images), 3), np.float32))


def test_one_image_is_run_alone_and_every_batch_size_on_all_streams_at_once(tiny_bundle: Bundle) -> None:
    runtime = Streams(2)
    warm_up(Predictor(tiny_bundle.contract, runtime, DecodeLimits()), max_batch_size=3)
    # One beside the two on the streams, and one that goes the whole way from a file.
    assert runtime.alone == {1: 2}
    assert runtime.together == {1: 2, 2: 2, 3: 2}


def test_every_batch_size_is_run_where_there_is_one_stream(tiny_bundle: Bundle) -> None:
    runtime = Streams(1)
    warm_up(Predictor(tiny_bundle.contract, runtime, DecodeLimits()), max_batch_size=3)
    assert set(runtime.alone) == {1, 2, 3}
    assert not runtime.together
