"""Whether a loaded network has the outputs that the contract promises."""

from collections.abc import Mapping, Sequence

from brainmri.errors import InvalidBundle
from brainmri.model.contract import Contract


def require_outputs(contract: Contract, shapes: Mapping[str, Sequence[int | str | None]]) -> None:
    """Compares a network's outputs with the contract.

    Args:
        contract: What is promised.
        shapes: Name of each output to its shape; an axis of any length is None or a name.

    Raises:
        InvalidBundle: `logits` `[B, 4]` or `features` `[B, D]` is missing or has another shape.
    """
    expected = {"logits": len(contract.labels), "features": contract.feature_size}
    missing = {}
    for name, size in expected.items():
        shape = shapes.get(name, ())
        if len(shape) != 2 or shape[1] != size:
            missing[name] = size
    if missing:
        raise InvalidBundle(f"The network of {contract.tag} lacks outputs of shape [B, n]: {missing}.")
