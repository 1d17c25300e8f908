import gc
import weakref
from collections.abc import Iterator

import pytest

from brainmri.lifecycle.follower import freeze


class Node:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_garbage_is_collected_and_the_rest_is_spared() -> None:
    node = Node()
    gone = weakref.ref(node)
    del node
    freeze()
    assert gone() is None
    assert gc.get_freeze_count() > 1000


def test_what_was_spared_and_then_left_is_found_at_the_next_call() -> None:
    node = Node()
    left = weakref.ref(node)
    freeze()
    del node
    gc.collect()
    assert left() is not None
    freeze()
    assert left() is None
