import numpy as np
import pytest

from training.data.arrays import Arrays
from training.fit.batches import EvaluationBatches, TrainBatches, group_weights, mix
from training.fit.recipe import Phase, Recipe


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"name": "t", "phases": [Phase(epochs=1)], **changes})


@pytest.fixture
def copies(arrays: Arrays) -> Arrays:
    """Twelve images in six groups: one of five copies, one of three, four alone."""
    groups = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5])
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    # Every image is of one grey level: its row number.
    pixels = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None], (12, 299, 299, 3))
    return Arrays(pixels=pixels, labels=labels, groups=groups, rows=arrays.rows[:12])


def still(**changes: object) -> Recipe:
    off = dict.fromkeys(
        ("rotation", "scale", "shift", "flip", "resharpen", "blur", "jpeg", "gamma", "brightness", "noise", "cutout"),
        0.0,
    )
    return recipe(augmentation=off, mixup=0.0, **changes)


def drawn(batches: TrainBatches) -> list[int]:
    return [int(image.max()) for index in range(len(batches)) for image in batches[index][0]]


def test_an_epoch_draws_one_image_of_each_group(copies: Arrays) -> None:
    batches = TrainBatches(copies, np.arange(12), still(), batch_size=2, epoch=0)
    for _ in range(5):
        assert sorted(copies.groups[drawn(batches)].tolist()) == [0, 1, 2, 3, 4, 5]
        batches.on_epoch_end()


def test_copies_take_turns_over_the_epochs(copies: Arrays) -> None:
    batches = TrainBatches(copies, np.arange(12), still(), batch_size=6, epoch=0)
    seen = set()
    for _ in range(40):
        seen |= set(drawn(batches))
        batches.on_epoch_end()
    assert seen == set(range(12))


def test_sampling_by_image_takes_all(copies: Arrays) -> None:
    batches = TrainBatches(copies, np.arange(12), still(sampling="image"), batch_size=4, epoch=0)
    assert sorted(drawn(batches)) == list(range(12))


def test_a_resumed_epoch_has_the_batches_of_an_uninterrupted_run(copies: Arrays) -> None:
    whole = TrainBatches(copies, np.arange(12), recipe(), batch_size=3, epoch=0)
    whole.on_epoch_end()
    whole.on_epoch_end()
    resumed = TrainBatches(copies, np.arange(12), recipe(), batch_size=3, epoch=2)
    for index in (1, 0):
        for ours, theirs in zip(whole[index], resumed[index], strict=True):
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_weights_balance_the_labels_by_their_groups(copies: Arrays) -> None:
    _, targets, weights = TrainBatches(copies, np.arange(12), still(), batch_size=6, epoch=0)[0]
    totals = targets.T @ weights
    assert totals == pytest.approx([1.5, 1.5, 1.5, 1.5])


def test_weights_are_one_without_balance(copies: Arrays) -> None:
    _, _, weights = TrainBatches(copies, np.arange(12), still(balance=False), batch_size=6, epoch=0)[0]
    assert weights.tolist() == [1.0] * 6


def test_mixup_blends_images_and_targets_by_the_same_share() -> None:
    images = np.stack([np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4, 3), np.uint8)] * 8)
    targets = np.tile(np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32), (8, 1))
    blended, soft = mix(images, targets, alpha=1.0, rng=np.random.default_rng(0))
    assert soft.sum(axis=1) == pytest.approx(np.ones(16))
    assert blended[:, 0, 0, 0] == pytest.approx(200 * soft[:, 0], abs=0.5)
    assert len(set(soft[:, 0].tolist()) - {0.0, 1.0}) == 2


def test_evaluation_batches_keep_the_order_and_weigh_groups_equally(copies: Arrays) -> None:
    batches = EvaluationBatches(copies, np.arange(12), batch_size=5)
    images = np.concatenate([batches[i][0] for i in range(len(batches))])
    weights = np.concatenate([batches[i][2] for i in range(len(batches))])
    assert images[:, 0, 0, 0].tolist() == list(range(12))
    assert [float(weights[copies.groups == g].sum()) for g in range(6)] == pytest.approx([2.0] * 6)


def test_group_weights_have_mean_one() -> None:
    assert group_weights(np.array([4, 4, 9])).tolist() == pytest.approx([0.75, 0.75, 1.5])
