"""A released model as something that another process, or another machine, can open."""

from dataclasses import dataclass, replace
from pathlib import Path

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.settings import Settings


@dataclass(frozen=True)
class OpenBundle:
    """Opens the predictor that the service would open.

    Attributes:
        folder: Of the bundle; the same on every machine that opens it.
        contract_sha256: What the contract's digest must be, wherever it is opened.
        options: How it is opened.
    """

    folder: Path
    contract_sha256: str
    options: ModelOptions

    @classmethod
    def of(cls, bundle: Bundle, settings: Settings, batch_size: int) -> "OpenBundle":
        """Returns what opens a verified bundle with the settings of the service, for batches of `batch_size` images."""
        options = replace(ModelOptions.of(settings), full_batch=batch_size)
        return cls(bundle.folder.absolute(), bundle.contract.digest(), options)

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
        return Predictor.open(bundle, self.options)
