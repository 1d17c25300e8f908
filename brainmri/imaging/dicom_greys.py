"""Stored values of a DICOM object to 8-bit pixels: modality, window or table, polarity, palette (PS3.3, C.11)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging.dicom_header import quiet_pydicom
from brainmri.imaging.greys import declared_scaling, finite, scaling_of
from brainmri.imaging.picture import Header, Scaling
from brainmri.imaging.pixels import Converted, scaled_greys

_MOST_SEQUENCE_BYTES = 2 * 2**20
"""Parsing takes 10 microseconds for each item of 8 bytes."""


def to_pixels(values: NDArray[np.generic], dataset: Any, header: Header, frame: int) -> Converted:
    """Converts one frame.

    Args:
        values: As stored, `[H, W]`, or `[H, W, 3]` in RGB.
        dataset: As `read_header` gives it.
        header: What it declares.
        frame: Which frame the values are of; its own window goes before that of all frames.
    """
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        colours = quiet_pydicom().pixels.apply_color_lut(values, dataset)
        return _colours(np.asarray(colours)[:, :, :3], colours.dtype.itemsize * 8)
    if header.channels > 1:
        return _colours(values, int(dataset.get("BitsStored") or values.dtype.itemsize * 8))
    if dataset.get("BitsAllocated") == 1:
        return scaled_greys(values, Scaling("declared", 0, 1))
    physical = finite(_modality(values, _of_frame(dataset, frame, "PixelValueTransformationSequence"), dataset))
    is_inverse = (kind == "MONOCHROME1") != (dataset.get("PresentationLUTShape") == "INVERSE" and kind == "MONOCHROME2")
    shown = _windowed(physical, _of_frame(dataset, frame, "FrameVOILUTSequence"))
    if shown is None:
        shown = _by_table(physical, dataset)
    if shown is None:
        shown = physical, _by_values(physical, values, dataset)
    return scaled_greys(shown[0], shown[1], min_is_white=is_inverse)


def _colours(values: NDArray[np.generic], bits: int) -> Converted:
    if values.dtype == np.uint8:
        return Converted(np.ascontiguousarray(values, np.uint8), 8, Scaling("as_stored", 0, 255))
    return scaled_greys(values, declared_scaling(bits))


def _of_frame(dataset: Any, frame: int, name: str) -> Any:
    """Returns where a frame's own values are: in its functional groups, in those of all frames, or in the object."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        sequence = _sequence(dataset, groups)
        if index < len(sequence):
            found = _sequence(sequence[index], name)
            if len(found):
                return found[0]
    return dataset


def _sequence(dataset: Any, name: str) -> Any:
    if name not in dataset:
        return ()
    raw = getattr(dataset.get_item(name), "value", None)
    if isinstance(raw, bytes) and len(raw) > _MOST_SEQUENCE_BYTES:
        return ()
    return dataset[name].value or ()


def _modality(values: NDArray[np.generic], source: Any, dataset: Any) -> NDArray[np.generic]:
    if len(_sequence(dataset, "ModalityLUTSequence")):
        return np.asarray(quiet_pydicom().pixels.apply_modality_lut(values, dataset))
    slope, intercept = _number(source, "RescaleSlope"), _number(source, "RescaleIntercept")
    if not slope or intercept is None or (slope, intercept) == (1, 0):
        return values
    if slope.is_integer() and intercept.is_integer() and abs(slope) < 2**12 and abs(intercept) < 2**20:
        # Of 16 bits, the results fit into 32.
        wide: NDArray[Any] = values.astype(np.int32 if values.dtype.itemsize <= 2 else np.int64)
        return np.asarray(wide * int(slope) + int(intercept))
    return np.asarray(values.astype(np.float32) * np.float32(slope) + np.float32(intercept))


def _windowed(values: NDArray[np.generic], source: Any) -> tuple[NDArray[np.generic], Scaling] | None:
    """Applies the first window; None without one, or if it leaves nothing to see."""
    centre, width = _number(source, "WindowCenter"), _number(source, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = source.get("VOILUTFunction", "LINEAR")
    if function == "SIGMOID":
        low, high = centre - width / 2, centre + width / 2
        steps = np.clip(-4 * (values.astype(np.float32) - centre) / width, -80, 80)
        return 1 / (1 + np.exp(steps)) * (high - low) + low, Scaling("window", low, high)
    if function == "LINEAR_EXACT":
        low, high = centre - width / 2, centre + width / 2
    else:
        low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    if high <= float(values.min()) or low >= float(values.max()):
        return None
    return values, Scaling("window", low, high if high > low else low + 1e-6)


def _by_table(values: NDArray[np.generic], dataset: Any) -> tuple[NDArray[np.generic], Scaling] | None:
    if not len(_sequence(dataset, "VOILUTSequence")) or values.dtype.kind == "f":
        return None
    table = np.asarray(quiet_pydicom().pixels.apply_voi(values, dataset))
    (_, _, bits) = dataset.VOILUTSequence[0].LUTDescriptor
    return table, Scaling("lookup_table", 0, 2 ** min(max(int(bits), 1), 16) - 1)


def _by_values(physical: NDArray[np.generic], stored: NDArray[np.generic], dataset: Any) -> Scaling:
    """Returns the scaling by the values, without those that pad the picture to a rectangle."""
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int):
        inside = physical[stored != padding]
        return scaling_of(inside if inside.size else physical)
    return scaling_of(physical)


def _number(source: Any, name: str) -> float | None:
    """Returns the first value of an element of decimal strings, if it is a finite number."""
    value = source.get(name)
    if value is not None and not isinstance(value, str | bytes | int | float) and hasattr(value, "__len__"):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
