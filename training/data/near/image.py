"""One image of the near set."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REAL, DRAWN, ALTERED = "real", "drawn", "altered"
"""Origins: a scan that a package carries, an image that code draws, or a slice of the dataset made unlike one."""


@dataclass(frozen=True)
class NearImage:
    """One image that is not a brain-MRI slice.

    Attributes:
        name: Identity within the near set, such as `ct/CT_small.dcm/bone`.
        kind: What it shows, such as `ct` or `document`.
        origin: `real`, `drawn` or `altered`.
        pixels: uint8 `[H, W]` or `[H, W, 3]`.
    """

    name: str
    kind: str
    origin: str
    pixels: NDArray[np.uint8]

    @property
    def sha256(self) -> str:
        """Hash of shape and pixels."""
        return hashlib.sha256(str(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()
