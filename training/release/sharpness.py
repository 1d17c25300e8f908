"""Does a sharper input change the answer? The copies here are 224 pixels wide, slices elsewhere mostly 512."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from brainmri.imaging import decode, to_tensor
from training.data.arrays import Arrays
from training.data.split import HOLDOUT
from training.release.outputs import SERVING, Outputs

WIDTH = 512
_SHARPEN = ImageFilter.UnsharpMask(radius=2, percent=150, threshold=2)


def enlarge(pixels: NDArray[np.uint8], *, sharpen: bool) -> NDArray[np.uint8]:
    """Returns the image 512 pixels on its longer side, by a Lanczos filter, and sharpened if asked for."""
    image = Image.fromarray(pixels)
    factor = WIDTH / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    larger = image.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(larger.filter(_SHARPEN) if sharpen else larger)


def describe_sharper(outputs: Outputs, arrays: Arrays, dataset: Path) -> dict[str, Any]:
    """Returns label flips and accuracy on the hold-out when its slices are enlarged, and sharpened as well."""
    rows = arrays.subset(HOLDOUT)
    plain = outputs.of(SERVING, arrays.pixels, rows).logits.argmax(axis=1)
    result: dict[str, Any] = {"images": len(rows), "accuracy": float((plain == arrays.labels[rows]).mean())}
    for name, sharpen in (("enlarged", False), ("enlarged_and_sharpened", True)):
        images = [decode((dataset / arrays.rows[number].name).read_bytes()) for number in rows]
        tensors = np.stack([to_tensor(enlarge(pixels, sharpen=sharpen)) for pixels in images])
        labels = outputs.of(SERVING, tensors).logits.argmax(axis=1)
        result[name] = {
            "label_flips": float((labels != plain).mean()),
            "accuracy": float((labels == arrays.labels[rows]).mean()),
        }
    return result
