"""Bytes to pixels to the model's tensor: the only decode and the only resize of the project."""

from brainmri.imaging.decode import decode, read_picture
from brainmri.imaging.limits import DecodeLimits
from brainmri.imaging.picture import DEFAULT_ASK, Ask, Header, Picture, Scaling, SourceImage
from brainmri.imaging.tensor import PREPROCESSING_VERSION, SIDE, to_tensor

__all__ = [
    "DEFAULT_ASK",
    "PREPROCESSING_VERSION",
    "SIDE",
    "Ask",
    "DecodeLimits",
    "Header",
    "Picture",
    "Scaling",
    "SourceImage",
    "decode",
    "read_picture",
    "to_tensor",
]
