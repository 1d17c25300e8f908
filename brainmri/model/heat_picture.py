"""Heat maps as PNG files: in grey, for programs, and in colour over the slice, for people."""

import io
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainmri.errors import MalformedRequest
from brainmri.imaging import SIDE
from brainmri.model.explanation import HeatMap

PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "cividis": (
        (0, 32, 77),
        (49, 68, 107),
        (87, 92, 109),
        (124, 123, 120),
        (165, 156, 116),
        (211, 193, 100),
        (255, 234, 70),
    ),
    "fire": ((0, 0, 0), (128, 0, 0), (230, 60, 0), (255, 160, 0), (255, 240, 120), (255, 255, 255)),
    "grey": ((0, 0, 0), (255, 255, 255)),
}
"""Name to red, green, blue from no evidence to the most, equally far apart. The first one is the default; the
colour-blind tell its ends apart."""

_GAIN = 1.6
"""Evidence of 1 / 1.6 of the maximum is already drawn as strongly as the opacity allows, as on the page."""

_COMPRESSION, _STRATEGY = 1, zlib.Z_RLE
"""Of zlib. Maps are smooth, so a higher level takes longer and saves little (20.8 kB at 1, 19.1 kB at 3), and to look
for runs alone is faster and saves more than to look for any repetition."""


@dataclass(frozen=True)
class GreyMap:
    """A heat map as an 8-bit grey PNG.

    Attributes:
        png: The file.
        side: Width and height in pixels.
        maximum: Evidence of the white pixels, in units of the logit; black is 0. A map without evidence is all black.
    """

    png: bytes
    side: int
    maximum: float


@dataclass(frozen=True)
class Style:
    """How a heat map is laid over a slice.

    Attributes:
        opacity: Of the strongest evidence, in [0, 1].
        palette: A name of `PALETTES`.
    """

    opacity: float = 0.6
    palette: str = next(iter(PALETTES))

    @classmethod
    def of(cls, opacity: str | None, palette: str | None) -> Self:
        """Reads what a caller asks for; None takes the default.

        Raises:
            MalformedRequest: The opacity is not a number from 0 to 1, or there is no such palette.
        """
        style = cls()
        if palette is not None and palette not in PALETTES:
            known = ", ".join(PALETTES)
            raise MalformedRequest(f"There is no palette {palette[:40]!r}. Choose one of {known}.", limit=known)
        return cls(style.opacity if opacity is None else _opacity(opacity), palette or style.palette)


def grey_map(heat: HeatMap) -> GreyMap:
    """Returns the map at the size of the network's input, scaled so that its maximum is white."""
    enlarged = heat.enlarged()
    return GreyMap(_png(Image.fromarray(_levels(enlarged))), SIDE, float(enlarged.max()))


def overlay_png(slice_pixels: NDArray[np.uint8], heat: HeatMap, style: Style, side: int = SIDE) -> bytes:
    """Returns the slice with the map over it, as PNG; arguments as in `overlay`."""
    return _png(overlay(slice_pixels, heat, style, side))


def overlay(slice_pixels: NDArray[np.uint8], heat: HeatMap, style: Style, side: int = SIDE) -> Image.Image:
    """Returns the slice with the map over it, as an RGB image.

    Args:
        slice_pixels: What the network saw, uint8 `[299, 299, 3]`.
        heat: The map.
        style: Opacity and colours.
        side: Width and height of the picture, in pixels.
    """
    levels = Image.fromarray(_levels(heat.enlarged()))
    share = np.rint(np.minimum(255.0, _GAIN * np.arange(256)) * style.opacity).astype(int)
    colours = levels.copy()
    colours.putpalette(_colours(style.palette).tobytes())
    drawn = Image.composite(colours.convert("RGB"), Image.fromarray(slice_pixels), levels.point(share.tolist()))
    return drawn if side == SIDE else drawn.resize((side, side), Image.Resampling.BILINEAR)


def _levels(enlarged: NDArray[np.float32]) -> NDArray[np.uint8]:
    most = float(enlarged.max())
    return np.rint(enlarged * (255 / most) if most else enlarged).astype(np.uint8)


def _colours(palette: str) -> NDArray[np.uint8]:
    """Returns the colour of each grey level, `[256, 3]`."""
    stops = np.array(PALETTES[palette], np.float64)
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, np.arange(len(stops)), channel) for channel in stops.T]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)


def _opacity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise MalformedRequest(f"The opacity is {text[:40]!r}. Send a number from 0 to 1.", limit="0 to 1")
    return value


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=_COMPRESSION, compress_type=_STRATEGY)
    return file.getvalue()
