"""Bytes to pixels to the model's tensor: the only decode and the only resize of the project."""

from brainmri.imaging.contents import FrameOf, files_of_directory, frames_of
from brainmri.imaging.decode import decode, read_picture
from brainmri.imaging.limits import DecodeLimits
from brainmri.imaging.picture import DEFAULT_OPTIONS, MAX_FRAME, Header, Picture, ReadOptions, Scaling, SourceImage
from brainmri.imaging.preview import PREVIEW_SIDE, Preview, preview_of
from brainmri.imaging.signatures import HEAD_BYTES, format_of
from brainmri.imaging.tensor import PREPROCESSING_VERSION, SIDE, to_tensor

__all__ = [
    "DEFAULT_OPTIONS",
    "HEAD_BYTES",
    "MAX_FRAME",
    "PREPROCESSING_VERSION",
    "PREVIEW_SIDE",
    "SIDE",
    "DecodeLimits",
    "FrameOf",
    "Header",
    "Picture",
    "Preview",
    "ReadOptions",
    "Scaling",
    "SourceImage",
    "decode",
    "files_of_directory",
    "format_of",
    "frames_of",
    "preview_of",
    "read_picture",
    "to_tensor",
]
