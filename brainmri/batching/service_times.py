"""How long inference takes, learned from what was measured: the base of every predicted wait."""

from weakref import WeakKeyDictionary

from brainmri.model.predictor import Predictor

_WEIGHT = 0.2
"""Share of the newest measurement in the average: one hiccup moves it little, ten batches change it."""


class ServiceTimes:
    """Moving averages of the seconds per image, by model and batch size.

    The batch size matters on accelerators, where eight images take little longer than one.
    """

    def __init__(self) -> None:
        # Weak, so that a model that is no longer served is released.
        self._averages: WeakKeyDictionary[Predictor, dict[int, float]] = WeakKeyDictionary()

    def observe(self, predictor: Predictor, images: int, seconds: float) -> None:
        """Learns from one batch.

        Args:
            predictor: Which model ran.
            images: Images in the batch, at least 1.
            seconds: How long it took.
        """
        averages = self._averages.setdefault(predictor, {})
        measured = seconds / images
        previous = averages.get(size := _rounded(images), measured)
        averages[size] = previous + _WEIGHT * (measured - previous)

    def per_image(self, predictor: Predictor, images: int) -> float:
        """Returns the seconds per image in a batch of `images`, from the nearest size known; 0 before the first."""
        averages = self._averages.get(predictor)
        if not averages:
            return 0.0
        wanted = _rounded(max(images, 1))
        return averages[min(averages, key=lambda size: (abs(size.bit_length() - wanted.bit_length()), size))]


def _rounded(images: int) -> int:
    """Returns the largest power of two that is not above `images`, so that few sizes have averages of their own."""
    return 1 << (images.bit_length() - 1)
