import io

import numpy as np
from PIL import Image, ImageEnhance

from tests.training.conftest import draw_slice
from training.data.duplicates import dct_hash, group, near_pairs, thumbnail


def pairs_of(images: list[Image.Image]) -> list[list[int]]:
    hashes = np.stack([dct_hash(image) for image in images])
    return [list(map(int, pair)) for pair in near_pairs(hashes, np.stack([thumbnail(image) for image in images]))]


def resaved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def test_a_resaved_a_resized_and_a_darkened_copy_are_near_duplicates() -> None:
    original = draw_slice("glioma", 3)
    copies = [resaved(original, 50), original.resize((200, 200)), ImageEnhance.Brightness(original).enhance(0.7)]
    assert pairs_of([original, *copies]) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def test_different_slices_are_not_near_duplicates() -> None:
    assert pairs_of([draw_slice(label, seed) for label in ("glioma", "notumor") for seed in range(6)]) == []


def test_a_hash_has_255_bits_and_ignores_brightness() -> None:
    image = draw_slice("pituitary", 1)
    brighter = image.point([min(255, value + 20) for value in range(256)])
    assert dct_hash(image).shape == (255,)
    assert (dct_hash(image) != dct_hash(brighter)).sum() <= 10


def test_a_flat_image_has_a_finite_thumbnail() -> None:
    assert np.array_equal(thumbnail(Image.new("L", (50, 50), 128)), np.zeros(1024, np.float32))


def test_groups_are_transitive_and_others_stay_alone() -> None:
    numbers = group(5, np.array([[0, 1], [1, 3]]))
    assert numbers[0] == numbers[1] == numbers[3]
    assert len(set(numbers.tolist())) == 3


def test_images_without_pairs_are_groups_of_one() -> None:
    assert sorted(group(3, np.empty((0, 2), dtype=np.intp)).tolist()) == [0, 1, 2]
