import pytest

from tests.training.on_torch import assert_prints_on_torch, needs_torch
from training.fit.precision import computing_in, dtype_policy

pytestmark = pytest.mark.slow

STEP = """
import torch
from training.fit.precision import computing_in

weight = torch.ones(4, 4, requires_grad=True)
with computing_in("autocast_bfloat16"):
    first = weight @ weight
    with torch.no_grad():
        weight *= 2
    second = weight @ weight
assert first.dtype == torch.bfloat16
assert weight.dtype == torch.float32
assert second[0, 0].item() == 16, second
print("fresh")
"""


@needs_torch
def test_autocast_computes_in_bfloat16_with_the_weights_of_the_moment() -> None:
    assert_prints_on_torch(STEP, "fresh", timeout_s=120)


def test_back_ends_without_autocast_compute_in_float32_and_say_so(caplog: pytest.LogCaptureFixture) -> None:
    assert dtype_policy("autocast_bfloat16") == "float32"
    assert caplog.messages == ["tensorflow has no autocast_bfloat16: computing in float32"]
    with computing_in("autocast_bfloat16") as context:
        assert context is None


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_other_precisions_are_kerass_own(precision: str) -> None:
    assert dtype_policy(precision) == precision
    with computing_in(precision) as context:
        assert context is None
