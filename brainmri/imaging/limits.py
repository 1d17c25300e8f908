"""What images are refused by their size, before anything is decoded."""

from dataclasses import dataclass

from brainmri.errors import EmptyImage, ExtremeAspect, ImageTooLarge, MalformedRequest

MOST_PIXELS = 178_956_970
"""Pillow refuses more by itself (twice its `MAX_IMAGE_PIXELS`), whatever our own limit says."""


@dataclass(frozen=True)
class DecodeLimits:
    """What `decode` refuses.

    Attributes:
        max_bytes: Largest encoded image, in bytes.
        max_pixels: Largest width times height, in pixels; read from the header, before decoding.
        max_aspect: Largest ratio of the longer to the shorter side.
        min_side: Smallest width and height, in pixels.
    """

    max_bytes: int = 16 * 2**20
    max_pixels: int = 25_000_000
    max_aspect: float = 8.0
    min_side: int = 16

    def __post_init__(self) -> None:
        """Rejects limits that `decode` could not hold."""
        if min(self.max_bytes, self.max_pixels, self.min_side) < 1 or self.max_aspect < 1:
            raise ValueError(f"Every limit must be at least 1: {self}.")
        if self.max_pixels > MOST_PIXELS:
            raise ValueError(f"max_pixels is {self.max_pixels}; at most {MOST_PIXELS} can be decoded. Lower it.")

    def check_bytes(self, data: bytes) -> None:
        """Checks the size of the encoded image.

        Raises:
            EmptyImage: `data` is empty.
            ImageTooLarge: More bytes than allowed.
        """
        if not data:
            raise EmptyImage("The image is empty (0 bytes). Send the file's content.")
        if len(data) > self.max_bytes:
            raise ImageTooLarge(
                f"The image has {len(data)} bytes; at most {self.max_bytes} are accepted. Send a smaller file.",
                limit=f"{self.max_bytes} bytes",
            )

    def check_geometry(self, width: int, height: int, pixels: int = 0) -> None:
        """Checks the size that a header declares.

        Args:
            width: In pixels.
            height: In pixels.
            pixels: What is decoded at once, if it is more than width times height, such as a tile.

        Raises:
            ImageTooLarge: More pixels than allowed.
            ExtremeAspect: Too small, or too long and thin.
        """
        pixels = max(width * height, pixels)
        if pixels > self.max_pixels:
            raise self.too_many_pixels(pixels)
        if min(width, height) < self.min_side:
            raise ExtremeAspect(
                f"The image is {width}x{height} pixels; each side needs at least {self.min_side}."
                " Send the whole slice.",
                limit=f"{self.min_side} pixels a side",
            )
        if max(width, height) > self.max_aspect * min(width, height):
            raise ExtremeAspect(
                f"The image is {width}x{height} pixels; the longer side may be at most {self.max_aspect:g} times"
                " the shorter one. Send a single slice.",
                limit=f"aspect {self.max_aspect:g}",
            )

    def too_many_pixels(self, pixels: int | str) -> ImageTooLarge:
        """Returns the error for an image of so many pixels."""
        return ImageTooLarge(
            f"The image has {pixels} pixels; at most {self.max_pixels} are accepted. Scale it down first.",
            limit=f"{self.max_pixels} pixels",
        )


def no_such_frame(frame: int, frames: int) -> MalformedRequest:
    """Returns the error for a frame that a file of so many frames does not have."""
    limit = f"{frames} frame{'s' * (frames != 1)}"
    return MalformedRequest(f"Frame {frame} was asked for; the file has {limit}, counted from 0.", limit=limit)
