import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.errors import MalformedRequest, Overloaded
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.predictor import Prediction, Predictor, Slice
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output
from brainmri.observe.metrics import Metrics
from brainmri.open_inference.dataplane import DataPlane, InferRequest, priority_of
from brainmri.open_inference.models import find_model
from brainmri.open_inference.outputs import OutputTensor, WantedOutput
from brainmri.open_inference.tensors import Tensor
from brainmri.settings import Settings

Png = Callable[..., bytes]


class Abstaining(Predictor):
    """A model that has seen nothing like this image."""

    def answer(
        self, output: Output, row_number: int, timings_ms: Mapping[str, float], image: Slice | None = None
    ) -> Prediction:
        answer = super().answer(output, row_number, timings_ms, image)
        return replace(answer, label=None, verdict="not_a_brain_mri", novelty=7.5, in_distribution=False)


def on_plane(
    bundle: Bundle,
    work: Callable[[DataPlane], Coroutine[Any, Any, Any]],
    kind: type[Predictor] = Predictor,
    **settings: Any,
) -> Any:
    """Runs `work` with a data plane around the tiny bundle."""

    async def run() -> Any:
        engine = Engine(1)
        predictor = kind(bundle.contract, open_runtime(bundle), DecodeLimits())
        await engine.start(lambda: [predictor])
        try:
            return await work(DataPlane(engine, Settings(**settings), Metrics()))
        finally:
            await engine.drain(5)

    return asyncio.run(run())


def ask(plane: DataPlane, *files: bytes, **fields: Any) -> Coroutine[Any, Any, list[OutputTensor]]:
    model = find_model(plane.engine, "brain_mri_image")
    tensor = Tensor("image", "BYTES", (len(files), 1), elements=files)
    return plane.infer(Call(model.predictor, Deadline.after(20)), InferRequest(model, [tensor], **fields))


def test_a_model_that_abstains_says_why_instead_of_a_label_and_keeps_its_probabilities(
    bundle: Bundle, png: Png
) -> None:
    probabilities, label, novelty = on_plane(bundle, lambda plane: ask(plane, png()), Abstaining)
    assert label.elements() == [b"not_a_brain_mri"]
    assert novelty.values.tolist() == [[7.5]]
    assert probabilities.values[0, 0] == pytest.approx(0.976005, abs=1e-6)


def test_outputs_come_in_the_order_asked_for(bundle: Bundle, png: Png) -> None:
    wanted = [WantedOutput("novelty"), WantedOutput("probabilities", 1)]
    novelty, classes = on_plane(bundle, lambda plane: ask(plane, png(), png((0, 255, 0)), outputs=wanted))
    assert (novelty.datatype, novelty.shape, np.isnan(novelty.values).all()) == ("FP32", [2, 1], True)
    assert (classes.datatype, classes.shape) == ("BYTES", [2, 1])
    assert classes.elements() == [b"0.976005:0:glioma", b"0.976005:1:meningioma"]


def test_the_places_of_requests_under_way_are_counted_and_given_back(bundle: Bundle) -> None:
    async def take(plane: DataPlane) -> str:
        tensors = plane.admission.tensors
        with tensors(), tensors(), pytest.raises(Overloaded) as caught, tensors():
            pass
        with tensors():
            return f"{caught.value.limit}, {caught.value.retry_after_s:g} s"

    assert on_plane(bundle, take, max_queue_images=1, max_batch_size=1) == "2 requests, 1 s"


@pytest.mark.parametrize(
    ("level", "priority"), [(0, Priority.INTERACTIVE), (1, Priority.INTERACTIVE), (2, Priority.BULK)]
)
def test_levels_of_priority(level: int, priority: Priority) -> None:
    assert priority_of(level) is priority


@pytest.mark.parametrize("level", [-1, 3])
def test_other_levels_are_refused(level: int) -> None:
    with pytest.raises(MalformedRequest, match=f"priority is {level}"):
        priority_of(level)
