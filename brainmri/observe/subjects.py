"""What logs, metrics and traces read of an answered image and of a served model.

Models are on a floor above this one, so they are described here by their attributes.
"""

from collections.abc import Mapping
from typing import Protocol


class Identity(Protocol):
    """Which model answered: `brainmri.model.predictor.ModelIdentity`."""

    @property
    def name(self) -> str:
        """Name in the store."""
        ...

    @property
    def version(self) -> str:
        """Version in the store."""
        ...

    @property
    def runtime(self) -> str:
        """Runtime and precision, such as `openvino-int8`."""
        ...


class AnsweredImage(Protocol):
    """One answered image: `brainmri.model.predictor.Prediction`."""

    @property
    def label(self) -> str | None:
        """The most probable class, or what the policy says of a novel image."""
        ...

    @property
    def verdict(self) -> str:
        """What a person is told."""
        ...

    @property
    def confidence(self) -> float:
        """The largest calibrated probability, in [0, 1]."""
        ...

    @property
    def novelty(self) -> float | None:
        """How far the image is from the training slices; None without a detector."""
        ...

    @property
    def model(self) -> Identity:
        """Which model answered."""
        ...

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """Stage to milliseconds, with `total`."""
        ...


class LoadedModel(Protocol):
    """One loaded model: `brainmri.model.predictor.Predictor`."""

    @property
    def model(self) -> Identity:
        """Which model it is."""
        ...

    @property
    def preprocessing_version(self) -> str:
        """Version of the preprocessing that it was trained with."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads of its runtime."""
        ...
