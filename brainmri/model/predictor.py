"""The whole way of one image, in order: decode, tensor, network, calibration, novelty, answer."""

import contextlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.blocking import NEVER, Stop
from brainmri.errors import ImageUnreadable, InvalidBundle
from brainmri.imaging import (
    DEFAULT_OPTIONS,
    PREPROCESSING_VERSION,
    PREVIEW_SIDE,
    SIDE,
    DecodeLimits,
    Picture,
    Preview,
    ReadOptions,
    SourceImage,
    decode,
    preview_of,
    read_picture,
    to_tensor,
)
from brainmri.model.bundle import Bundle
from brainmri.model.calibration import probabilities
from brainmri.model.contract import RELEASED_CLASSES, Classes, Contract
from brainmri.model.explanation import (
    Explain,
    Explanation,
    Head,
    HeatMap,
    open_head,
    require_explanation,
    require_label,
)
from brainmri.model.figures import Documents
from brainmri.model.novelty import NOT_A_BRAIN_MRI, UNSURE, NoveltyDetector, Policy, open_detector
from brainmri.model.options import ModelOptions
from brainmri.model.runtimes.open import open_runtime
from brainmri.model.runtimes.protocol import Output, Runtime, RuntimeInfo
from brainmri.model.variants import choose, require_classifier, require_package
from brainmri.settings import RuntimeChoice


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: name and version in the store, runtime and precision, and what it tells apart."""

    name: str
    version: str
    runtime: str
    classes: Classes = RELEASED_CLASSES


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        label: The most probable class; what the policy says when the image is novel: None, unless it is another.
        confidence: The largest calibrated probability, in [0, 1].
        probabilities: Label to calibrated probability; they sum to 1 within rounding and are never altered.
        verdict: What to tell a person: `not_a_brain_mri` when novel, whatever the policy; else `unsure` when the
            confidence is below the contract's; else the label.
        novelty: How far the image is from the training slices, 1 for the median one. None without a detector.
        in_distribution: Whether `novelty` is at most the contract's threshold. None without a detector.
        model: Which model answered.
        timings_ms: Stage to milliseconds: `decode`, `queue`, `inference`, `total`.
        explanation: Where the network looked; None unless it was asked for.
        image: What the file held; None for an image that came as a tensor.
        preview: PNG of the image for people; None unless it was asked for.
    """

    label: str | None
    confidence: float
    probabilities: Mapping[str, float]
    verdict: str
    novelty: float | None
    in_distribution: bool | None
    model: ModelIdentity
    timings_ms: Mapping[str, float]
    explanation: Explanation | None = None
    image: SourceImage | None = None
    preview: bytes | None = None

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Labels and probabilities, the most probable first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])

    @property
    def explained(self) -> Explanation:
        """The explanation of a prediction for which one was asked."""
        if self.explanation is None:
            raise ValueError("No explanation was asked for.")
        return self.explanation


@dataclass(frozen=True)
class Slice:
    """One decoded image.

    Attributes:
        tensor: The model's input, uint8 `[299, 299, 3]`.
        source: What the file held, and how its values became these.
        preview: PNG of the image for people; None unless it was asked for.
    """

    tensor: NDArray[np.uint8]
    source: SourceImage
    preview: bytes | None = None


class Predictor:
    """One loaded model; every interface answers through it.

    The three steps are public so that a server may run `read` in a thread pool and `infer` on one stream.

    Args:
        contract: What the model promises.
        runtime: The loaded network.
        limits: What images to refuse.
        documents: What people read about the model.
        detector: Tells what is not a brain-MRI slice; None answers for everything.
        head: Turns feature maps into heat maps; None explains nothing.
        policy: The label of a novel image.

    Raises:
        InvalidBundle: The model was trained with another preprocessing than this code has.
    """

    def __init__(
        self,
        contract: Contract,
        runtime: Runtime,
        limits: DecodeLimits,
        documents: Documents = Documents(),  # noqa: B008 -- immutable
        *,
        detector: NoveltyDetector | None = None,
        head: Head | None = None,
        policy: Policy = "abstain",
    ) -> None:
        _require_preprocessing(contract)
        self._calibration = contract.calibration(runtime.info.name)
        self._detector = detector
        self._head = head
        self._policy = policy
        self.contract = contract
        self.documents = documents
        self.model = ModelIdentity(contract.name, contract.version, runtime.info.name, contract.classes)
        self._runtime = runtime
        self._limits = limits

    @staticmethod
    def check(bundle: Bundle, choice: RuntimeChoice) -> None:
        """Raises what `open` would raise, as far as it shows without loading the network.

        Raises:
            InvalidBundle: The model was trained with another preprocessing than this code has.
            RuntimeUnavailable: The bundle has no artefact for the runtime, or its package is not installed.
        """
        _require_preprocessing(bundle.contract)
        require_package(choose(bundle, choice))
        require_classifier(bundle.contract)

    @classmethod
    def open(cls, bundle: Bundle, options: ModelOptions = ModelOptions()) -> "Predictor":  # noqa: B008 -- immutable
        """Loads a verified bundle with the detector of its runtime; see `open_runtime` for errors."""
        runtime = open_runtime(bundle, options)
        detector, head = open_detector(bundle, runtime.info.name), open_head(bundle)
        documents, policy = Documents.of(bundle), options.policy
        return cls(bundle.contract, runtime, options.limits, documents, detector=detector, head=head, policy=policy)

    @property
    def runtime_info(self) -> RuntimeInfo:
        """Which runtime answers."""
        return self._runtime.info

    @property
    def preprocessing_version(self) -> str:
        """Version of the preprocessing that the model was trained with."""
        return self.contract.input.preprocessing_version

    @property
    def threads(self) -> int:
        """CPU threads of the runtime."""
        return self._runtime.info.threads

    @property
    def limits(self) -> DecodeLimits:
        """Which images are refused."""
        return self._limits

    @property
    def explains(self) -> bool:
        """Whether the model carries what heat maps are made of."""
        return self.contract.explanation is not None

    def read(
        self,
        data: bytes | Picture,
        options: ReadOptions = DEFAULT_OPTIONS,
        stop: Stop = NEVER,
        preview_side: int | None = None,
    ) -> Slice:
        """Decodes an encoded image into the model's tensor.

        Args:
            data: The file's bytes, or its picture where they have been decoded.
            options: Which frame, and whether another part of the body is answered for.
            stop: Ends the work when nobody waits for it.
            preview_side: Asks for a preview whose longer side has at most so many pixels.

        Raises:
            InvalidInput: The image is refused; see `brainmri.imaging.read_picture`.
            Stopped: Nobody waits for the image any more.
        """
        picture = data if isinstance(data, Picture) else read_picture(data, self._limits, options, stop)
        stop.check()
        preview = None if preview_side is None else preview_of(picture, preview_side).png
        return Slice(to_tensor(picture.pixels), picture.source, preview)

    def preview(
        self, data: bytes | Picture, options: ReadOptions = DEFAULT_OPTIONS, most_side: int = PREVIEW_SIDE
    ) -> Preview:
        """Draws what `read` scales to the tensor, for people; arguments and errors as there.

        Args:
            data: The file's bytes, or its picture where they have been decoded.
            options: Which frame of it.
            most_side: Most pixels of the longer side.
        """
        picture = data if isinstance(data, Picture) else read_picture(data, self._limits, options)
        return preview_of(picture, most_side)

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network on uint8 `[B, 299, 299, 3]`."""
        return self._runtime.infer(images)

    def answer(
        self, output: Output, row_number: int, timings_ms: Mapping[str, float], image: Slice | None = None
    ) -> Prediction:
        """Turns image `row_number` of the network's output into a calibrated answer; `image` is None for a tensor."""
        only = slice(row_number, row_number + 1)
        row = probabilities(output.logits[only], self._calibration.temperature)[0]
        best = int(row.argmax())
        confidence = float(row[best])
        novelty = None if self._detector is None else float(self._detector.score(output.features[only])[0])
        in_distribution = self._is_in_distribution(novelty)
        label = self.contract.labels[best]
        verdict = UNSURE if confidence < self._calibration.min_confidence else label
        if in_distribution is False:
            verdict = NOT_A_BRAIN_MRI
        return Prediction(
            label=self._label_if_novel(label) if in_distribution is False else label,
            confidence=confidence,
            probabilities=dict(zip(self.contract.labels, row.tolist(), strict=True)),
            verdict=verdict,
            novelty=novelty,
            in_distribution=in_distribution,
            model=self.model,
            timings_ms=timings_ms,
            image=None if image is None else image.source,
            preview=None if image is None else image.preview,
        )

    def require_heat_maps(self, label: str | None = None) -> None:
        """Raises what `heat_map` would raise for a label, before anything is run.

        Raises:
            HeatMapUnavailable: The model carries none.
            MalformedRequest: No such class.
        """
        require_explanation(self.contract)
        if label is not None:
            require_label(label, self.contract.labels)

    def heat_map(self, output: Output, row_number: int, label: str | None = None) -> HeatMap:
        """Returns where the evidence for a class lies in image `row_number` of the network's output.

        Args:
            output: Of this predictor.
            row_number: Which image.
            label: Which class; the most probable one if None.

        Raises:
            HeatMapUnavailable: The model carries none.
            MalformedRequest: No such class.
        """
        self.require_heat_maps(label)
        if self._head is None or output.feature_map is None:
            raise InvalidBundle(f"The network of {self.contract.tag} gave no feature map. Export the model again.")
        chosen = label or self.contract.labels[int(output.logits[row_number].argmax())]
        return self._head.heat_map(output.feature_map[row_number], chosen)

    def _is_in_distribution(self, novelty: float | None) -> bool | None:
        limit = self._calibration.novelty
        return None if novelty is None or limit is None else novelty <= limit.threshold

    def _label_if_novel(self, label: str) -> str | None:
        return {"abstain": None, "no_tumor": self.contract.classes.no_tumor, "pass": label}[self._policy]

    def explain(
        self, prediction: Prediction, output: Output, row_number: int, pixels: NDArray[np.uint8], wanted: Explain
    ) -> Prediction:
        """Returns the answer for image `row_number` with its explanation; errors as in `heat_map`.

        Args:
            prediction: From `answer`.
            output: Of this predictor.
            row_number: Which image.
            pixels: That image, uint8 `[299, 299, 3]`.
            wanted: What is asked for.
        """
        return replace(prediction, explanation=Explanation(self.heat_map(output, row_number, wanted.label), pixels))

    def predict(
        self,
        data: bytes | Picture,
        explain: Explain | None = None,
        options: ReadOptions = DEFAULT_OPTIONS,
        preview_side: int | None = None,
    ) -> Prediction:
        """Answers for one encoded image, in the calling thread.

        Args:
            data: As in `read`.
            explain: Asks for a heat map.
            options: Which frame of the file, and whether another part of the body is answered for.
            preview_side: As in `read`.

        Raises:
            InvalidInput: The image is refused.
            HeatMapUnavailable, MalformedRequest: As in `heat_map`.
        """
        if explain is not None:
            self.require_heat_maps(explain.label)
        start = time.perf_counter()
        image = self.read(data, options, preview_side=preview_side)
        decoded = time.perf_counter()
        output = self.infer(image.tensor[np.newaxis])
        done = time.perf_counter()
        prediction = self.answer(output, 0, stage_timings(start, decoded, decoded, done), image)
        return prediction if explain is None else self.explain(prediction, output, 0, image.tensor, explain)

    def warm_up(self) -> None:
        """Runs every stage once, so that the first request does not pay for lazy initialisation."""
        warm_up_decoding()
        self.answer(self.infer(to_tensor(decode(sample_image()))[np.newaxis]), 0, {})


def warm_up_decoding() -> None:
    """Decodes an image, and refuses what is none.

    Measured: the first decode takes 57 ms more than the second, the first refusal 110 ms: it imports every format.
    """
    to_tensor(decode(sample_image()))
    with contextlib.suppress(ImageUnreadable):
        decode(b"not an image")


def sample_image() -> bytes:
    """Returns a black JPEG of the network's size."""
    file = io.BytesIO()
    Image.new("L", (SIDE, SIDE)).save(file, "JPEG")
    return file.getvalue()


def _require_preprocessing(contract: Contract) -> None:
    trained = contract.input.preprocessing_version
    if trained != PREPROCESSING_VERSION:
        raise InvalidBundle(
            f"{contract.tag} was trained with the preprocessing {trained!r}, this version of brainmri has"
            f" {PREPROCESSING_VERSION!r}. Serve it with the version that trained it, or train again."
        )


def stage_timings(start: float, decoded: float, begun: float, done: float) -> dict[str, float]:
    """Returns the milliseconds of each stage from `time.perf_counter` readings in seconds, in the order of time."""
    return {
        "decode": (decoded - start) * 1e3,
        "queue": (begun - decoded) * 1e3,
        "inference": (done - begun) * 1e3,
        "total": (done - start) * 1e3,
    }
