from pathlib import Path

import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.contract import Contract
from brainmri.model.runtimes.network_shape import require_outputs
from tests.tiny import CELLS, contract_parts, explanation_parts

VECTORS: dict[str, list[int | str | None]] = {"logits": [None, 4], "features": ["batch", 3]}


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    parts = contract_parts(schema_version=2, explanation=explanation_parts(tmp_path / "head.npz"))
    return Contract.from_parts(**parts)


@pytest.mark.parametrize("shape", [[None, CELLS, CELLS, 3], ["batch", None, "width", 3], [1, CELLS, CELLS, "unk__7"]])
def test_a_map_may_have_axes_of_unknown_length(contract: Contract, shape: list[int | str | None]) -> None:
    require_outputs(contract, {**VECTORS, "feature_map": shape})


@pytest.mark.parametrize("shape", [[], [None, CELLS, CELLS], [None, 3, CELLS, CELLS], [None, None, None, 4]])
def test_a_map_of_another_shape_is_refused(contract: Contract, shape: list[int | str | None]) -> None:
    with pytest.raises(InvalidBundle, match=r"lacks the output feature_map of shape \['B', 13, 13, 3\]"):
        require_outputs(contract, {**VECTORS, "feature_map": shape})
