import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtests.pictures import SIDE, NoImages, Picture, load_pictures, multipart


def test_drawn_images_are_the_same_in_every_run_and_differ_among_each_other() -> None:
    first, second = load_pictures("", 4, 128), load_pictures("", 4, 128)
    assert [picture.file for picture in first] == [picture.file for picture in second]
    assert len({picture.file for picture in first}) == 4


def test_a_drawn_image_is_a_bright_ring_on_black_with_something_in_it() -> None:
    with Image.open(io.BytesIO(load_pictures("", 1, 256)[0].file)) as image:
        pixels = np.asarray(image, np.float64)
    assert pixels.shape == (256, 256)
    assert pixels[:8].max() < 20
    assert 40 < pixels[96:160, 96:160].mean() < 160


def test_files_come_evenly_from_every_folder(tmp_path: Path, png: Callable[..., bytes]) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(6):
            (tmp_path / label / f"{number}.png").write_bytes(png(number * 10))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    pictures = load_pictures(str(tmp_path), 4, 0)
    assert [picture.name for picture in pictures] == ["a/0.png", "a/3.png", "b/0.png", "b/3.png"]
    assert {picture.content_type for picture in pictures} == {"image/png"}


def test_a_folder_with_too_few_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoImages, match="holds 0 JPEG and PNG files, and 3"):
        load_pictures(str(tmp_path), 3, 0)


def test_a_tensor_is_padded_with_black_to_a_square() -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 100), (250, 250, 250)).save(file, "PNG")
    tensor = np.frombuffer(Picture("wide", file.getvalue()).tensor, np.uint8).reshape(SIDE, SIDE, 3)
    assert tensor[10].max() == 0
    assert tensor[SIDE // 2].min() == 250


def test_a_form_has_one_part_for_each_file() -> None:
    form = multipart("images", [Picture("a", b"AAA"), Picture("b", b"BBB", "image/png")], "xyz")
    assert form.count(b'name="images"') == 2
    assert form.index(b"image/jpeg\r\n\r\nAAA\r\n--xyz") < form.index(b"image/png\r\n\r\nBBB\r\n--xyz--\r\n")
