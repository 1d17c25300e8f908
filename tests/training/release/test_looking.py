"""Where a network looks, for the network whose heat map is the colour of each cell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import write_tiny_bundle
from tests.training.fit.pictures import row
from training.data.boxes import Box
from training.data.slices import Slices, as_slices
from training.release.answers import answer
from training.release.looking import describe_looking, random_maps
from training.release.outputs import Outputs

NETWORK: dict[str, Any] = {"architecture": "tiny_xception", "downsample": 4}
SPOT = np.s_[46:92, 184:230]
"""Cells 2 and 3 of 13 in rows, 8 and 9 in columns, of 23 pixels each."""
BOX = Box(184 / 299, 46 / 299, 230 / 299, 92 / 299)


@pytest.fixture
def spotted() -> Slices:
    """A red spot in its box and one outside of it, a slice without box, and an unnamed tumour that is blue."""
    rows = [
        row("inside", "glioma", "slice 1", subset="test"),
        row("outside", "glioma", "slice 2", subset="test"),
        row("healthy", "notumor", "g", subset="test"),
        row("blue", "tumour", "t", source="br35h", subset="external"),
    ]
    pixels = np.zeros((4, 299, 299, 3), np.uint8)
    pixels[0][SPOT] = pixels[1][SPOT] = (200, 0, 0)
    pixels[3][SPOT] = (0, 0, 200)
    elsewhere = Box(0.05, 0.7, 0.2, 0.9)
    boxes = np.array([BOX.values(), elsewhere.values(), (0, 0, 0, 0), BOX.values()], np.float32)
    return as_slices(pixels, rows, boxes)


def test_the_map_of_the_true_label_is_compared_with_the_box(spotted: Slices, tmp_path: Path) -> None:
    outputs = Outputs(write_tiny_bundle(tmp_path / "bundle", tmp_path, explains=True), threads=1)
    test, external = (answer(outputs, spotted, name) for name in ("test", "external"))
    found = describe_looking(outputs, spotted, test, external, NETWORK)
    assert set(found) == {"person", "centre", "random", "br35h"}
    assert (found["person"]["images"], found["person"]["pointing"]) == (2, 0.5)
    # Inside: nearly all of the evidence; enlarging spreads a little of it over the edge. Outside: none.
    assert 0.3 < found["person"]["energy"] <= 0.5
    assert (found["centre"]["images"], found["centre"]["pointing"]) == (2, 0)
    # Every fourth slice is asked of random weights: the first.
    assert found["random"]["images"] == 1


def test_of_an_unnamed_tumour_the_most_probable_tumour_is_asked(spotted: Slices, tmp_path: Path) -> None:
    outputs = Outputs(write_tiny_bundle(tmp_path / "bundle", tmp_path, explains=True), threads=1)
    test, external = (answer(outputs, spotted, name) for name in ("test", "external"))
    found = describe_looking(outputs, spotted, test, external, NETWORK)["br35h"]
    # Only pituitary has evidence where it is blue.
    assert (found["images"], found["pointing"], found["pointing_strict"]) == (1, 1, 1)
    assert "br35h" not in describe_looking(outputs, spotted, test, None, NETWORK)


def test_nothing_is_said_of_a_bundle_without_heat_maps_or_of_slices_without_boxes(
    spotted: Slices, tmp_path: Path
) -> None:
    silent = Outputs(write_tiny_bundle(tmp_path / "silent", tmp_path / "a"), threads=1)
    assert describe_looking(silent, spotted, answer(silent, spotted, "test"), None, NETWORK) == {}
    explaining = Outputs(write_tiny_bundle(tmp_path / "explaining", tmp_path / "b", explains=True), threads=1)
    test = answer(explaining, spotted, "test").part(np.array([False, False, True]))
    assert describe_looking(explaining, spotted, test, None, NETWORK) == {}


def test_random_weights_give_a_map_of_the_networks_own_cells(spotted: Slices) -> None:
    maps = random_maps(spotted.pixels, np.array([0, 1]), ["glioma", "pituitary"], **NETWORK)
    assert maps.shape == (2, 18, 18)
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
