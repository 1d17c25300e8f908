import io
from pathlib import Path

from PIL import Image

from brainmri.settings import Settings
from k8s.sizing import CONFIG, loads, pod_settings


def test_the_settings_are_those_of_the_config_map_without_its_addresses(tmp_path: Path) -> None:
    config = tmp_path / "config.env"
    config.write_text("# about\nBRAINMRI_HTTP_HOST=0.0.0.0\nBRAINMRI_GRPC_PORT=3001\nBRAINMRI_THREADS=2\n")
    assert pod_settings(config) == {"BRAINMRI_THREADS": "2"}
    assert pod_settings(CONFIG)["BRAINMRI_MAX_IMAGE_PIXELS"] == "16777216"


def test_the_load_goes_to_the_limits_and_not_beyond() -> None:
    settings = Settings(max_image_pixels=10_000, max_request_images=3, max_request_bytes=30_000)
    sent = {load.name: load for load in loads(settings)}
    for mode in ("RGB", "RGBA", "I;16"):
        image = Image.open(io.BytesIO(sent[f"largest {mode}"].body))
        assert (image.mode, image.size) == (mode, (100, 100))
    longest = sent["longest bodies"].body
    assert 0.95 * settings.max_request_bytes < len(longest) <= settings.max_request_bytes
    assert longest.count(b"Content-Disposition") == settings.max_request_images
