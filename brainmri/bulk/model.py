"""A released model as something that another process, or another machine, can open."""

from dataclasses import dataclass
from pathlib import Path

from brainmri.errors import InvalidBundle
from brainmri.imaging import DecodeLimits
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.novelty import Policy
from brainmri.model.predictor import Predictor, decode_limits
from brainmri.model.runtimes.runtime import Choice
from brainmri.settings import Settings


@dataclass(frozen=True)
class OpenBundle:
    """Opens the predictor that the service would open.

    Attributes:
        folder: Of the bundle; the same on every machine that opens it.
        contract_sha256: What the contract's digest must be, wherever it is opened.
        runtime: Which runtime.
        threads: Of the runtime, at least 1.
        streams: Inferences at a time, at least 1; see `open_runtime`.
        limits: What images to refuse.
        policy: The label of a novel image.
        full_batch: Images in most batches; see `open_runtime`.
    """

    folder: Path
    contract_sha256: str
    runtime: Choice
    threads: int
    streams: int
    limits: DecodeLimits
    policy: Policy
    full_batch: int

    @classmethod
    def of(cls, bundle: Bundle, settings: Settings, batch_size: int) -> "OpenBundle":
        """Returns what opens a verified bundle with the settings of the service, for batches of `batch_size` images."""
        return cls(
            bundle.folder.absolute(),
            bundle.contract.digest(),
            settings.runtime,
            settings.inference_threads(),
            settings.inference_lanes(),
            decode_limits(settings),
            settings.novelty_policy,
            batch_size,
        )

    def __call__(self) -> Predictor:
        """Loads the model.

        Raises:
            InvalidBundle: The bundle is another one, or does not hold.
            RuntimeUnavailable: See `Predictor.open`.
        """
        bundle = load_bundle(self.folder)
        if bundle.contract.digest() != self.contract_sha256:
            raise InvalidBundle(
                f"{self.folder} holds another model than the run was begun with. Give every machine the same bundle."
            )
        return Predictor.open(
            bundle, self.runtime, self.threads, self.limits, self.policy, self.streams, self.full_batch
        )
