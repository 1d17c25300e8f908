from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.chromium import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file."""
    with chromium() as running:
        yield running
