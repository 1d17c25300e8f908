"""The images that are not brain-MRI slices, as model inputs: photographs (far) and the near set."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging import SIDE, decode, to_tensor
from training.data.dataset import find_dataset
from training.data.near.manifest import NearSet, build_near_set
from training.data.own import own_folder, read_labels

PHOTOGRAPHS = Path("not-brain-mri") / "photos"


@dataclass(frozen=True)
class Outliers:
    """Model inputs that the novelty detector should refuse; nothing is ever fitted on them.

    Attributes:
        far: Photographs, uint8 `[N, 299, 299, 3]`; N is 0 when the data folder holds none.
        far_sha256: Hash of the model inputs of the photographs.
        near: The near set, uint8 `[M, 299, 299, 3]`.
        near_set: Its names, kinds and manifest.
    """

    far: NDArray[np.uint8]
    far_sha256: str
    near: NDArray[np.uint8]
    near_set: NearSet


def load_outliers(data: Path) -> Outliers:
    """Reads the photographs of a data folder beside `brain-mri/`, and makes the near set.

    Raises:
        DatasetError: The near set cannot be made.
        InvalidInput: A photograph cannot be read.
    """
    own = read_labels(data)
    dataset = find_dataset(data) if own is None else own_folder(data, own)
    folder = dataset.parent / PHOTOGRAPHS
    paths = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    far = _stack([to_tensor(decode(path.read_bytes())) for path in paths])
    near_set = build_near_set(dataset)
    near = _stack([to_tensor(image.pixels) for image in near_set.images])
    return Outliers(far, hashlib.sha256(far.tobytes()).hexdigest(), near, near_set)


def _stack(tensors: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.stack(tensors) if tensors else np.empty((0, SIDE, SIDE, 3), dtype=np.uint8)
