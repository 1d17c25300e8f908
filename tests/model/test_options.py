import pytest

from brainmri.imaging import DecodeLimits
from brainmri.model.options import ModelOptions
from brainmri.settings import Settings


def test_a_server_opens_its_models_as_its_settings_say() -> None:
    settings = Settings(
        runtime="onnx",
        threads=3,
        streams=2,
        max_batch_size=4,
        max_image_bytes=1000,
        max_image_pixels=2000,
        novelty_policy="pass",
    )
    assert ModelOptions.of(settings) == ModelOptions(
        runtime="onnx",
        threads=3,
        streams=2,
        full_batch=4,
        limits=DecodeLimits(max_bytes=1000, max_pixels=2000),
        policy="pass",
    )


@pytest.mark.parametrize("bad", [{"threads": 0}, {"streams": 0}, {"full_batch": -1}])
def test_numbers_that_no_runtime_can_use_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 thread and 1 stream"):
        ModelOptions(**bad)  # type: ignore[arg-type]
