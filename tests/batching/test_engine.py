import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmri.batching.admission import Admission, AdmissionLimits, Work
from brainmri.batching.batcher import Unobserved
from brainmri.batching.call import Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.batching.schedule import Batching
from brainmri.errors import (
    BrainMRIError,
    DeadlineExceeded,
    ImageUnreadable,
    InferenceFailed,
    InvalidBundle,
    MalformedRequest,
    NotReady,
    Overloaded,
)
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Prediction, Predictor, Slice
from brainmri.model.runtimes.protocol import Output, RuntimeInfo
from brainmri.settings import Settings
from tests.batching.stand_in import WAIT_S, asked, until
from tests.tiny import BIAS

Png = Callable[..., bytes]


@pytest.fixture
def predictor(tiny_bundle: Bundle) -> Predictor:
    return Predictor.open(tiny_bundle, ModelOptions(limits=DecodeLimits(max_bytes=10_000)))


@asynccontextmanager
async def running(*predictors: Predictor, decode_workers: int = 2, **settings: Any) -> AsyncIterator[Engine]:
    engine = Engine(decode_workers, Batching(**settings), max_request_images=8)
    await engine.start(lambda: predictors)
    try:
        yield engine
    finally:
        await engine.drain(WAIT_S)


class Broken:
    """A runtime whose every logit is the same value."""

    def __init__(self, value: float) -> None:
        self.info = RuntimeInfo("openvino-f32", "f32", 1)
        self.value = value

    def infer(self, images: NDArray[np.uint8]) -> Output:
        return Output(np.full((len(images), 4), self.value, np.float32), np.zeros((len(images), 3), np.float32))


class SlowRead:
    """Holds back a predictor's decoding, and notes what was decoded."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
        self._read = predictor.read
        self._go = threading.Semaphore(0)
        self.seen: list[bytes] = []
        monkeypatch.setattr(predictor, "read", self)

    def __call__(self, data: bytes, *more: Any) -> Slice:
        self.seen.append(data)
        assert self._go.acquire(timeout=WAIT_S)
        return self._read(data, *more)

    def let(self, images: int = 100) -> None:
        self._go.release(images)


def test_many_at_once_get_the_right_labels(predictor: Predictor, png: Png) -> None:
    async def ask() -> list[str | None]:
        async with running(predictor) as engine:
            images = [png((255, 0, 0)), png((0, 255, 0)), png((0, 0, 255))] * 4
            answers = await asyncio.gather(
                *(engine.predict(asked(engine, Deadline.after(30)), image) for image in images)
            )
        return [answer.label for answer in answers]

    assert asyncio.run(ask()) == ["glioma", "meningioma", "pituitary"] * 4


def test_it_is_ready_between_its_start_and_its_retirement_and_answers_until_it_drains(
    predictor: Predictor, png: Png
) -> None:
    async def ask() -> list[bool]:
        engine = Engine(decode_workers=1)
        seen = [engine.ready]
        with pytest.raises(NotReady):
            await engine.predict(asked(engine), png())
        await engine.start(lambda: [predictor])
        seen.append(engine.ready)
        engine.retire()
        seen.append(engine.ready)
        assert (await engine.predict(asked(engine), png())).label == "glioma"
        assert await engine.drain(WAIT_S) is True
        with pytest.raises(NotReady):
            await engine.predict(asked(engine), png())
        return [*seen, engine.ready]

    assert asyncio.run(ask()) == [False, True, False, False]


def test_it_answers_its_warm_up_requests_before_it_is_ready(predictor: Predictor, png: Png) -> None:
    async def ask() -> list[object]:
        engine = Engine(decode_workers=1)
        seen: list[object] = []

        async def warm_up() -> None:
            seen.extend((engine.ready, (await engine.predict(asked(engine, warm_up=True), png())).label))

        await engine.start(lambda: [predictor], warm_up)
        seen.append(engine.ready)
        await engine.drain(WAIT_S)
        return seen

    assert asyncio.run(ask()) == [False, "glioma", True]


def test_callers_that_come_during_the_warm_up_requests_are_refused_and_cannot_make_it_fail(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> bool:
        engine = Engine(1, Batching(max_queue_images=1))
        warming = asyncio.Event()
        begun = asyncio.Event()

        async def warm_up() -> None:
            begun.set()
            await warming.wait()
            await engine.predict(asked(engine, warm_up=True), png())

        starting = asyncio.create_task(engine.start(lambda: [predictor], warm_up))
        await begun.wait()
        read = SlowRead(predictor, monkeypatch)
        image = np.zeros((1, 299, 299, 3), np.uint8)
        early = (
            engine.predict(asked(engine), png()),
            engine.predict_many(asked(engine), [png()]),
            engine.infer(asked(engine), image),
        )
        refused = asyncio.gather(*early, return_exceptions=True)
        await asyncio.sleep(0)
        warming.set()
        read.let()
        assert [type(error) for error in await refused] == [NotReady] * 3
        await starting
        await engine.drain(WAIT_S)
        return read.seen == [png()]

    assert asyncio.run(ask())


@pytest.mark.parametrize(("compiled", "tried"), [((), {1, 2, 3, 4}), ((1, 4), {1, 4})], ids=["any size", "fixed sizes"])
def test_what_it_is_warm_for_before_it_is_ready(
    tiny_bundle: Bundle, compiled: tuple[int, ...], tried: set[int]
) -> None:
    class Sizes(Broken):
        def __init__(self) -> None:
            super().__init__(0.0)
            self.info = RuntimeInfo("openvino-f32", "f32", 1, compiled)

        def infer(self, images: NDArray[np.uint8]) -> Output:
            seen.append(len(images))
            return super().infer(images)

    async def ask() -> None:
        async with running(Predictor(tiny_bundle.contract, Sizes(), DecodeLimits()), max_batch_size=4):
            assert set(seen) == tried

    seen: list[int] = []
    asyncio.run(ask())


def test_an_image_that_is_decoded_while_the_engine_drains_is_answered(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[str | None]:
        async with running(predictor, decode_workers=1) as engine:
            read = SlowRead(predictor, monkeypatch)
            requests = [asyncio.create_task(engine.predict(asked(engine), png())) for _ in range(3)]
            await until(lambda: len(read.seen) == 1)
            draining = asyncio.create_task(engine.drain(WAIT_S))
            await asyncio.sleep(0)
            with pytest.raises(NotReady, match="shutting down"):
                await engine.predict(asked(engine), png())
            read.let()
            assert await draining is True
            return [answer.label for answer in await asyncio.gather(*requests)]

    assert asyncio.run(ask()) == ["glioma"] * 3


def test_a_model_that_cannot_be_loaded_leaves_it_not_ready() -> None:
    def fail() -> list[Predictor]:
        raise InvalidBundle("broken")

    async def ask() -> bool:
        engine = Engine(decode_workers=1)
        with pytest.raises(InvalidBundle, match="broken"):
            await engine.start(fail)
        await engine.drain(WAIT_S)
        return engine.ready

    assert asyncio.run(ask()) is False


def test_a_network_that_answers_nonsense_never_becomes_the_served_one(
    predictor: Predictor, tiny_bundle: Bundle, png: Png
) -> None:
    async def ask() -> None:
        async with running(predictor) as engine:
            broken = Predictor(tiny_bundle.contract, Broken(float("nan")), DecodeLimits())
            with pytest.raises(InvalidBundle, match="fails on a black image"):
                await engine.swap(lambda: [broken])
            assert engine.models.all() == (predictor,)
            assert (await engine.predict(asked(engine), png())).label == "glioma"

    asyncio.run(ask())


def test_an_answer_that_is_not_a_number_is_a_failure_of_inference(tiny_bundle: Bundle, png: Png) -> None:
    async def ask() -> None:
        runtime = Broken(0.0)
        async with running(Predictor(tiny_bundle.contract, runtime, DecodeLimits())) as engine:
            runtime.value = float("inf")
            with pytest.raises(InferenceFailed, match="not a number"):
                await engine.predict(asked(engine), png())

    asyncio.run(ask())


def test_requests_under_way_keep_their_model_and_the_old_one_is_released_after_them(
    tiny_bundle: Bundle, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(version: str) -> Predictor:
        contract = tiny_bundle.contract.model_copy(update={"version": version})
        return Predictor.open(Bundle(tiny_bundle.folder, contract))

    async def swap_under_way(engine: Engine) -> "weakref.ref[Predictor]":
        first = opened("1.0.0")
        await engine.start(lambda: [first])
        read = SlowRead(first, monkeypatch)
        request = asyncio.create_task(engine.predict(asked(engine), png()))
        await until(lambda: len(read.seen) == 1)
        second = opened("2.0.0")
        await engine.swap(lambda: [second])
        assert (await engine.predict(asked(engine), png())).model.version == "2.0.0"
        read.let()
        assert (await request).model.version == "1.0.0"
        monkeypatch.undo()
        return weakref.ref(first)

    async def ask() -> None:
        engine = Engine(decode_workers=2)
        trace = await swap_under_way(engine)
        gc.collect()
        await until(lambda: trace() is None)
        await engine.drain(WAIT_S)

    asyncio.run(ask())


def test_each_item_of_many_gets_its_own_answer_or_error_in_order(predictor: Predictor, png: Png) -> None:
    async def ask() -> list[Prediction | BrainMRIError]:
        async with running(predictor) as engine:
            assert await engine.predict_many(asked(engine), []) == []
            return await engine.predict_many(
                asked(engine), [png((0, 0, 255)), b"text", png((255, 0, 0)), png((0, 0, 0))]
            )

    blue, text, red, black = asyncio.run(ask())
    assert isinstance(text, ImageUnreadable)
    labels = [answer.label for answer in (blue, red, black) if isinstance(answer, Prediction)]
    assert labels == ["pituitary", "glioma", "notumor"]


def test_many_are_accepted_or_refused_together(predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with running(predictor, max_queue_images=4) as engine:
            read = SlowRead(predictor, monkeypatch)
            first = asyncio.create_task(engine.predict_many(asked(engine), [png()] * 2))
            await until(lambda: len(read.seen) == 2)
            with pytest.raises(Overloaded):
                await engine.predict_many(asked(engine), [png()] * 3)
            with pytest.raises(MalformedRequest, match="holds 9 images; one may hold 8") as refusal:
                await engine.predict_many(asked(engine), [png()] * 9)
            assert refusal.value.limit == "8 images"
            read.let()
            assert len(await first) == 2
            assert len(read.seen) == 2

    asyncio.run(ask())


def test_a_fault_in_one_item_ends_the_others_before_their_places_are_given_back(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with running(predictor, decode_workers=2, max_queue_images=3) as engine:
            read, go = predictor.read, threading.Event()

            def faulty(data: bytes, *more: Any) -> Slice:
                if data == b"fault":
                    raise RuntimeError("a fault of ours")
                assert go.wait(WAIT_S)
                return read(data, *more)

            monkeypatch.setattr(predictor, "read", faulty)
            with pytest.raises(ExceptionGroup) as fault:
                await engine.predict_many(asked(engine), [b"fault", png(), png()])
            assert [str(error) for error in fault.value.exceptions] == ["a fault of ours"]
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert [task for task in others if "one" in task.get_coro().__qualname__] == []  # type: ignore[union-attr]
            go.set()
            assert len(await engine.predict_many(asked(engine), [png()] * 3)) == 3

    asyncio.run(ask())


def test_items_that_are_not_done_in_time_say_so_and_the_others_are_answered(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals: list[str] = []

    async def ask() -> list[Prediction | BrainMRIError]:
        async with running(predictor, decode_workers=1) as engine:
            monkeypatch.setattr(Unobserved, "count_refusal", lambda _, reason: refusals.append(reason))
            read = SlowRead(predictor, monkeypatch)
            read.let(1)
            answers = await engine.predict_many(asked(engine, Deadline.after(1)), [png()] * 3)
            read.let()
            return answers

    first, second, third = asyncio.run(ask())
    assert isinstance(first, Prediction)
    assert isinstance(second, DeadlineExceeded)
    assert isinstance(third, DeadlineExceeded)
    assert refusals == ["expired", "expired"]


def test_an_image_whose_caller_has_gone_or_is_late_is_not_decoded(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[bytes]:
        async with running(predictor, decode_workers=1) as engine:
            read = SlowRead(predictor, monkeypatch)
            first = asyncio.create_task(engine.predict(asked(engine), png()))
            await until(lambda: len(read.seen) == 1)
            gone = asyncio.create_task(engine.predict(asked(engine), b"gone"))
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(DeadlineExceeded):
                await engine.predict(asked(engine, Deadline.after(0.05)), b"late")
            read.let()
            assert (await first).label == "glioma"
            assert (await engine.predict(asked(engine), png(0))).label == "notumor"
            return read.seen

    assert asyncio.run(ask()) == [png(), png(0)]


def test_the_images_being_decoded_are_bounded(predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with running(predictor, decode_workers=1, max_queue_images=3) as engine:
            read = SlowRead(predictor, monkeypatch)
            requests = [asyncio.create_task(engine.predict(asked(engine), png())) for _ in range(3)]
            await until(lambda: len(read.seen) == 1)
            with pytest.raises(Overloaded):
                await engine.predict(asked(engine), png())
            read.let()
            await asyncio.gather(*requests)

    asyncio.run(ask())


def test_as_many_are_admitted_as_the_queue_has_places(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> str | None:
        async with running(predictor, max_queue_images=2) as engine:
            reading = SlowRead(predictor, monkeypatch)
            first = asyncio.create_task(engine.predict(asked(engine), png()))
            await until(lambda: bool(reading.seen))
            admission = Admission(AdmissionLimits.of(Settings()), engine.require_room_for)
            with admission.admit(Work.PREDICTION) as admitted:
                # One place is taken and one is expected to be.
                with pytest.raises(Overloaded, match="The queue is full: 2 images"):
                    admission.admit(Work.PREDICTION)
                second = asyncio.create_task(engine.predict(asked(engine, admitted=admitted), png()))
                await until(lambda: len(reading.seen) == 2)
                assert admission.expected == 0
                with pytest.raises(Overloaded):
                    admission.admit(Work.PREDICTION)
                with pytest.raises(Overloaded):
                    engine.require_room(asked(engine))
            reading.let()
            await asyncio.gather(first, second)
            engine.require_room(asked(engine))
            with admission.admit(Work.PREDICTION) as admitted:
                return (await engine.predict(asked(engine, admitted=admitted), png())).label

    assert asyncio.run(ask()) == "glioma"


def test_an_interactive_image_is_decoded_before_bulk_images_that_came_first(
    predictor: Predictor, png: Png, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[bytes]:
        async with running(predictor, decode_workers=1) as engine:
            read = SlowRead(predictor, monkeypatch)
            bulk = asyncio.create_task(engine.predict_many(asked(engine, priority=Priority.BULK), [png()] * 6))
            await until(lambda: len(read.seen) == 1)
            interactive = asyncio.create_task(engine.predict(asked(engine), png(0)))
            await asyncio.sleep(0)
            read.let()
            await asyncio.gather(bulk, interactive)
            return read.seen

    assert asyncio.run(ask()).index(png(0)) == 1


def test_tensors_are_answered_in_order(predictor: Predictor) -> None:
    images = np.zeros((3, 299, 299, 3), np.uint8)
    images[0, ..., 0], images[1, ..., 2] = 255, 255

    async def ask() -> list[Prediction]:
        async with running(predictor, max_batch_size=2) as engine:
            return await engine.infer(asked(engine), images)

    red, blue, black = asyncio.run(ask())
    assert [red.label, blue.label, black.label] == ["glioma", "pituitary", "notumor"]
    powers = np.exp(BIAS / 2.0)
    assert list(black.probabilities.values()) == pytest.approx(list(powers / powers.sum()), rel=1e-5)
    timings = red.timings_ms
    assert timings["decode"] == 0
    assert timings["total"] == pytest.approx(timings["queue"] + timings["inference"])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 299, 299, 3), np.float32),
        np.zeros((299, 299, 3), np.uint8),
        np.zeros((1, 3, 299, 299), np.uint8),
        np.zeros((0, 299, 299, 3), np.uint8),
    ],
    ids=["dtype", "rank", "layout", "empty"],
)
def test_a_tensor_of_another_shape_or_type_is_refused(predictor: Predictor, images: NDArray[Any]) -> None:
    async def ask() -> None:
        async with running(predictor) as engine:
            with pytest.raises(MalformedRequest, match=r"must be uint8 \[B, 299, 299, 3\] with B of at least 1; it is"):
                await engine.infer(asked(engine), images)

    asyncio.run(ask())


def test_a_tensor_of_too_many_images_is_refused(predictor: Predictor) -> None:
    async def ask() -> None:
        async with running(predictor) as engine:
            with pytest.raises(MalformedRequest, match="holds 9 images; one may hold 8"):
                await engine.infer(asked(engine), np.zeros((9, 299, 299, 3), np.uint8))

    asyncio.run(ask())


def test_the_stages_of_an_image_add_up(predictor: Predictor, png: Png) -> None:
    async def ask() -> Prediction:
        async with running(predictor) as engine:
            return await engine.predict(asked(engine), png())

    timings = asyncio.run(ask()).timings_ms
    assert list(timings) == ["decode", "queue", "inference", "total"]
    assert min(timings.values()) > 0
    assert timings["total"] == pytest.approx(timings["decode"] + timings["queue"] + timings["inference"])
