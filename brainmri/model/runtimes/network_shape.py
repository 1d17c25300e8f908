"""Whether a loaded network has the outputs that the contract promises."""

from collections.abc import Mapping, Sequence

from brainmri.errors import InvalidBundle
from brainmri.model.contract import Contract

FEATURE_MAP = "feature_map"
"""Name of the output that heat maps are made of."""


def output_names(contract: Contract) -> list[str]:
    """Returns the outputs that a network of this contract has."""
    return ["logits", "features", *([FEATURE_MAP] if contract.explanation else [])]


def require_outputs(contract: Contract, shapes: Mapping[str, Sequence[int | str | None]]) -> None:
    """Compares a network's outputs with the contract.

    Args:
        contract: What is promised.
        shapes: Name of each output to its shape; an axis of any length is None or a name.

    Raises:
        InvalidBundle: `logits` `[B, 4]`, `features` `[B, D]` or the `feature_map` of the contract's explanation is
            missing or has another shape.
    """
    expected = {"logits": len(contract.labels), "features": contract.feature_size}
    missing = {name: size for name, size in expected.items() if list(shapes.get(name, ()))[1:] != [size]}
    if missing:
        raise InvalidBundle(f"The network of {contract.tag} lacks outputs of shape [B, n]: {missing}.")
    if (explanation := contract.explanation) is not None:
        shape = [explanation.rows, explanation.columns, explanation.channels]
        if not _may_be(list(shapes.get(FEATURE_MAP, ()))[1:], shape):
            raise InvalidBundle(
                f"The network of {contract.tag} lacks the output {FEATURE_MAP} of shape {['B', *shape]}."
                " Export the model again."
            )


def _may_be(axes: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    """Tells whether axes have these lengths, as far as a format knows them: ONNX may name a length instead."""
    return len(axes) == len(shape) and all(
        axis == length for axis, length in zip(axes, shape, strict=True) if isinstance(axis, int)
    )
