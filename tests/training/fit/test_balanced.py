from typing import Any

import numpy as np
import pytest

from brainmri.model.contract import LABELS
from tests.training.fit.pictures import TUMOUR, head, row, slices_of, with_tumour
from training.data.slices import NOTUMOR, UNNAMED, Slices
from training.fit.balanced import BalancedBatches, EvaluationImages, _strata, possible_labels
from training.fit.recipe import Recipe

GLIOMA = LABELS.index("glioma")


def recipe(**changes: object) -> Recipe:
    phases = [{"epochs": 1, "downsample": 4}]
    return Recipe.model_validate({"name": "t", "architecture": "tiny_xception", "steps": 3, "phases": phases} | changes)


def test_a_label_has_its_share_and_its_sources_divide_it_by_the_root_of_their_units() -> None:
    picture = head()
    slices = slices_of(
        [
            *((picture, row(f"n{i}", "notumor", f"n{i}", source="nickparvar"), None) for i in range(9)),
            *((picture, row(f"b{i}", "notumor", f"b{i}", source="br35h"), None) for i in range(4)),
            # A slice, a copy of it in the other source, and another slice: one family with two units.
            (picture, row("f1", "glioma", "slice 1"), TUMOUR),
            (picture, row("f1 copy", "glioma", "slice 1", source="nickparvar"), TUMOUR),
            (picture, row("f2", "glioma", "slice 2"), TUMOUR),
            (picture, row("t", "glioma", "slice 3", subset="test"), TUMOUR),
        ]
    )
    strata = _strata(slices, {"notumor": 0.6, "glioma": 0.2, "pituitary": 0.2})
    found: dict[str, Any] = {
        slices.images[stratum.units[0][0]].name: (stratum.share, [len(unit) for unit in stratum.units])
        for stratum in strata
    }
    # Pituitary has no image: the others take its share. Three fifths and two fifths of notumor: roots of 9 and of 4.
    assert found == {
        "n0": (pytest.approx(0.75 * 3 / 5), [1] * 9),
        "b0": (pytest.approx(0.75 * 2 / 5), [1] * 4),
        "f1": (pytest.approx(0.25), [2, 1]),
    }


def test_the_shares_of_a_recipe_are_those_of_its_labels(slices: Slices) -> None:
    shares = recipe().shares
    by_label: dict[str, float] = {}
    for stratum in _strata(slices, shares):
        labels = {slices.images[int(number)].label for unit in stratum.units for number in unit}
        assert len(labels) == 1
        label = labels.pop()
        by_label[label] = by_label.get(label, 0.0) + stratum.share
    assert by_label == pytest.approx({label: share / sum(shares.values()) for label, share in shares.items()})


def test_seed_epoch_and_index_alone_decide_a_batch(slices: Slices) -> None:
    everything = {
        "styles": {"fourier": 0.5, "skull": 0.3, "curve": 0.3},
        "transplants": {"erase": 0.3, "paste": 0.5, "sham": 0.3},
    }

    def batch(index: int, epoch: int = 0, seed: int = 1) -> bytes:
        batches = BalancedBatches(slices, recipe(seed=seed, **everything), 4, epoch)
        images, targets = batches[index]
        return images.tobytes() + targets["target"].tobytes() + targets["box"].tobytes()

    assert batch(1) == batch(1)
    assert len({batch(1), batch(2), batch(1, epoch=1), batch(1, seed=2)}) == 4


def test_the_next_epoch_draws_anew(slices: Slices) -> None:
    batches = BalancedBatches(slices, recipe(), 2, epoch=0)
    first = batches[0][0].tobytes()
    batches.on_epoch_end()
    assert batches[0][0].tobytes() != first
    assert batches[0][0].tobytes() == BalancedBatches(slices, recipe(), 2, epoch=1)[0][0].tobytes()
    assert len(batches) == 3


def test_a_batch_holds_grey_images_targets_and_boxes(slices: Slices) -> None:
    images, targets = BalancedBatches(slices, recipe(), 6, epoch=0)[0]
    assert images.shape == (6, 299, 299, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images[..., 0], images[..., 1])
    assert np.array_equal(images[..., 0], images[..., 2])
    assert (targets["target"].shape, targets["box"].shape) == ((6, 4), (6, 4))


@pytest.mark.parametrize(
    ("label", "expected"), [("glioma", [1, 0, 0, 0]), ("notumor", [0, 0, 1, 0]), ("tumour", [1, 1, 0, 1])]
)
def test_only_labels_with_a_share_are_drawn(slices: Slices, label: str, expected: list[int]) -> None:
    _, targets = BalancedBatches(slices, recipe(shares={label: 1.0}), 5, epoch=0)[0]
    assert targets["target"].tolist() == [expected] * 5


def test_an_unnamed_tumour_may_be_any_tumour() -> None:
    assert possible_labels(UNNAMED).tolist() == [1, 1, 0, 1]
    assert [possible_labels(label).argmax() for label in range(4)] == [0, 1, 2, 3]


def sick_and_healthy(**transplants: float) -> BalancedBatches:
    """Batches of one glioma that lends its tumour and one healthy head."""
    slices = slices_of(
        [
            (with_tumour(head()), row("sick", "glioma", "slice 1"), TUMOUR),
            (head(), row("healthy", "notumor", "g", source="br35h"), None),
        ]
    )
    return BalancedBatches(slices, recipe(transplants=transplants), 2, epoch=0)


def test_a_slice_whose_tumour_was_erased_is_notumor_and_has_no_box() -> None:
    batches = sick_and_healthy(erase=1.0)
    healthy = batches._transplanted(batches._read(0), np.random.default_rng(0))
    assert (healthy.label, healthy.box) == (NOTUMOR, None)
    assert healthy.image.max() < 130


def test_a_slice_that_got_a_tumour_has_its_label_and_a_box() -> None:
    batches = sick_and_healthy(paste=1.0)
    sick = batches._transplanted(batches._read(1), np.random.default_rng(0))
    assert sick.label == GLIOMA
    assert sick.box is not None
    assert sick.image.max() > 150


def test_a_sham_changes_neither_label_nor_box() -> None:
    batches = sick_and_healthy(sham=1.0)
    for number in (0, 1):
        before = batches._read(number)
        for seed in range(6):
            after = batches._transplanted(before, np.random.default_rng(seed))
            assert (after.label, after.box) == (before.label, before.box)


def test_evaluation_shows_every_row_once_unaltered_and_in_order(slices: Slices) -> None:
    rows = slices.subset("validation")[:5]
    batches = EvaluationImages(slices, rows, batch_size=2)
    assert len(batches) == 3
    shown = np.concatenate([batches[number][0] for number in range(3)])
    np.testing.assert_array_equal(shown, slices.pixels[rows])
