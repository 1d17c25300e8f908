"""The models that are being served: several at once, one of them the default."""

from collections.abc import Sequence

from brainmri.errors import ModelNotFound, NotReady
from brainmri.model.predictor import Predictor


class Models:
    """Loaded and warm predictors; the first is the default. Swapped as a whole, so that a reader sees old or new."""

    def __init__(self) -> None:
        self._served: tuple[Predictor, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether any model is loaded and warm."""
        return bool(self._served)

    @property
    def default(self) -> Predictor:
        """The model that answers when a request names none.

        Raises:
            NotReady: Still loading, or closed.
        """
        if not self._served:
            raise NotReady("The model is not loaded. Try again in a few seconds, or ask /readyz first.")
        return self._served[0]

    def all(self) -> tuple[Predictor, ...]:
        """Returns every served model, the default first; empty before the first is loaded."""
        return self._served

    def get(self, name: str = "", version: str = "") -> Predictor:
        """Returns the model of a bundle name and version; empty strings take the default or its first match.

        Args:
            name: Bundle name such as `brain_mri_xception`, or the contract's `serving_name`.
            version: Version such as `0.1.0`.

        Raises:
            NotReady: No model is loaded.
            ModelNotFound: Nothing of that name and version is served; names what is.
        """
        if not name and not version:
            return self.default
        for predictor in self._served or (self.default,):
            contract = predictor.contract
            if name in ("", contract.name, contract.serving_name) and version in ("", contract.version):
                return predictor
        known = ", ".join(predictor.contract.tag for predictor in self._served)
        wanted = f"{name[:80]}:{version[:80]}".strip(":")
        raise ModelNotFound(f"No model {wanted!r} is served. Choose one of {known}.")

    def replace(self, served: Sequence[Predictor]) -> None:
        """Makes `served` the served models, the first of them the default; requests under way keep theirs."""
        self._served = tuple(served)
