"""Bytes to pixels to the model's tensor: the only decode and the only resize of the project."""

from brainmri.imaging.decode import decode, read_picture
from brainmri.imaging.limits import DecodeLimits
from brainmri.imaging.picture import DEFAULT_OPTIONS, MAX_FRAME, Header, Picture, ReadOptions, Scaling, SourceImage
from brainmri.imaging.tensor import PREPROCESSING_VERSION, SIDE, to_tensor

__all__ = [
    "DEFAULT_OPTIONS",
    "MAX_FRAME",
    "PREPROCESSING_VERSION",
    "SIDE",
    "DecodeLimits",
    "Header",
    "Picture",
    "ReadOptions",
    "Scaling",
    "SourceImage",
    "decode",
    "read_picture",
    "to_tensor",
]
