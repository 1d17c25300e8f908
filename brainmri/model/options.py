"""How a model is opened: the one definition that the service, the commands, bulk scoring and training share."""

from dataclasses import dataclass

from brainmri.imaging import DecodeLimits
from brainmri.model.novelty import Policy
from brainmri.settings import RuntimeChoice, Settings


@dataclass(frozen=True)
class ModelOptions:
    """Runtime, resources and policy of a model that is being opened.

    Attributes:
        runtime: Which runtime; see `brainmri.model.variants.choose`.
        threads: CPU threads of the runtime, at least 1.
        streams: Inferences at a time, at least 1. OpenVINO and LiteRT share the threads among them; ONNX Runtime runs
            each with all threads, TensorFlow runs one after the other.
        full_batch: Images in the batches that come most under load, 0 if none do. OpenVINO's streams get a network of
            just this size, a twentieth faster, for about 50 MiB.
        limits: Which images are refused.
        policy: The label of an image that looks like no brain-MRI slice.
    """

    runtime: RuntimeChoice = "auto"
    threads: int = 1
    streams: int = 1
    full_batch: int = 0
    limits: DecodeLimits = DecodeLimits()  # noqa: RUF009 -- immutable
    policy: Policy = "abstain"

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: Threads or streams below 1, or a negative batch.
        """
        if self.threads < 1 or self.streams < 1 or self.full_batch < 0:
            raise ValueError(
                f"threads={self.threads}, streams={self.streams}, full_batch={self.full_batch}: a runtime needs at"
                " least 1 thread and 1 stream, and full_batch is 0 or the images of a batch."
            )

    @classmethod
    def of(cls, settings: Settings) -> "ModelOptions":
        """Returns how a server with these settings opens its models."""
        return cls(
            runtime=settings.runtime,
            threads=settings.inference_threads(),
            streams=settings.inference_streams(),
            full_batch=settings.max_batch_size,
            limits=DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
            policy=settings.novelty_policy,
        )
