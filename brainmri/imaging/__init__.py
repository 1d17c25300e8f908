"""Bytes to pixels to the model's tensor: the only decode and the only resize of the project."""

from brainmri.imaging.decode import DecodeLimits, decode
from brainmri.imaging.tensor import PREPROCESSING_VERSION, SIDE, to_tensor

__all__ = ["PREPROCESSING_VERSION", "SIDE", "DecodeLimits", "decode", "to_tensor"]
