import numpy as np
import pytest

from brainmri.open_inference.outputs import classify

ROWS = np.array([[0.1, 0.2, 0.4, 0.3], [0.25, 0.25, 0.25, 0.25]], np.float32)


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_the_best_classes_come_first_as_value_index_label(count: int) -> None:
    best, equal = classify(ROWS, ("a", "b", "c", "d"), count)
    assert best == [b"0.400000:2:c", b"0.300000:3:d", b"0.200000:1:b", b"0.100000:0:a"][:count]
    assert equal == [b"0.250000:0:a", b"0.250000:1:b", b"0.250000:2:c", b"0.250000:3:d"][:count]
