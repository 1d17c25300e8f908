import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.training.conftest import draw_slice
from training.data.duplicates import IDENTITY, POSITIONS, Looks, dct_hash, group, near_pairs, unit_vector


def pairs_of(images: list[Image.Image]) -> list[list[int]]:
    return [list(map(int, pair)) for pair in near_pairs([Looks.of(image) for image in images])]


def resaved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_a_resaved_a_resized_and_a_darkened_copy_are_near_duplicates() -> None:
    original = draw_slice("glioma", 3)
    copies = [resaved(original, 50), original.resize((200, 200)), ImageEnhance.Brightness(original).enhance(0.7)]
    assert pairs_of([original, *copies]) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize("position", sorted(set(POSITIONS) - set(IDENTITY)))
def test_a_copy_in_any_position_is_found_and_only_by_looking_for_it(position: str) -> None:
    original = draw_slice("glioma", 3)
    turned = POSITIONS[position](np.asarray(original, dtype=np.float32)).astype(np.uint8)
    looks = [Looks.of(original), Looks.of(resaved(Image.fromarray(turned), 70))]
    assert near_pairs(looks).tolist() == [[0, 1]]
    assert near_pairs(looks, IDENTITY).tolist() == []


def test_different_slices_are_not_near_duplicates() -> None:
    assert pairs_of([draw_slice(label, seed) for label in ("glioma", "notumor") for seed in range(6)]) == []


def test_a_hash_has_255_bits_and_ignores_brightness() -> None:
    image = draw_slice("pituitary", 1)
    brighter = image.point([min(255, value + 20) for value in range(256)])
    hashes = [dct_hash(Looks.of(each).small) for each in (image, brighter)]
    assert hashes[0].shape == (255,)
    assert (hashes[0] != hashes[1]).sum() <= 10


def test_a_flat_image_has_a_finite_thumbnail() -> None:
    flat = Looks.of(Image.new("L", (50, 50), 128)).thumbnail
    assert np.array_equal(unit_vector(flat), np.zeros(1024, np.float32))


def test_groups_are_transitive_and_others_stay_alone() -> None:
    numbers = group(5, np.array([[0, 1], [1, 3]]))
    assert numbers[0] == numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3


def test_images_without_pairs_are_groups_of_one() -> None:
    assert sorted(group(3, np.empty((0, 2), dtype=np.intp)).tolist()) == [0, 1, 2]
