"""One answer to several images, in protocols that have no error for a single one of them."""

from collections.abc import Callable, Sequence

from brainmri.errors import BrainMRIError, InvalidInput
from brainmri.model.predictor import Prediction


def all_or_error(results: Sequence[Prediction | BrainMRIError], where: Callable[[int], str]) -> list[Prediction]:
    """Returns the predictions, or raises the first error.

    Args:
        results: One for each image.
        where: Names the image of an index, for what is wrong with the image itself.

    Raises:
        BrainMRIError: One of `results` is an error.
    """
    for index, result in enumerate(results):
        if isinstance(result, InvalidInput):
            raise located(result, where(index))
        if isinstance(result, BrainMRIError):
            raise result
    return [result for result in results if isinstance(result, Prediction)]


def located(error: InvalidInput, where: str) -> InvalidInput:
    """Returns a like error whose message begins with `where`."""
    return type(error)(f"{where}: {error.message}", limit=error.limit)
