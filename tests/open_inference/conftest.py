"""One server with the tiny bundle for the tests of a module."""

from collections.abc import Iterator

import pytest

from brainmri.model.bundle import Bundle
from tests.open_inference.served import Served, serve
from tests.tiny import write_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return write_tiny_bundle(folder / "brain_mri_xception", folder)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Served]:
    with serve(bundle, max_request_images=8, max_request_bytes=3_000_000, max_image_bytes=100_000) as served:
        yield served
