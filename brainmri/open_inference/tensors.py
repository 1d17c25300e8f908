"""The tensors of a request, checked against the model: uint8 images for the network, or the bytes of image files."""

import base64
import binascii
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainmri.errors import MalformedRequest, RequestTooLarge
from brainmri.open_inference.models import TensorSpec

Buffer: TypeAlias = bytes | memoryview

_LENGTH = struct.Struct("<I")

_PIECE = 65536


def pack_elements(elements: Iterable[bytes]) -> bytes:
    """Returns the elements one after the other, each behind its length as a little-endian uint32."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unpack_elements(data: Buffer, count: int) -> list[bytes]:
    """Splits what `pack_elements` made; one copy of each element.

    Args:
        data: The whole tensor.
        count: How many elements the shape asks for.

    Raises:
        MalformedRequest: A length points beyond the end, or there are more or fewer elements than `count`.
    """
    view = memoryview(data)
    elements: list[bytes] = []
    offset = 0
    while offset < len(view):
        start = offset + _LENGTH.size
        end = start + _LENGTH.unpack_from(view, offset)[0] if start <= len(view) else start
        # Stops early as well: the elements of a hostile tensor may be millions of empty ones.
        if end > len(view) or len(elements) == count:
            break
        elements.append(bytes(view[start:end]))
        offset = end
    if offset != len(view) or len(elements) != count:
        raise MalformedRequest(
            f"The {len(view)} bytes of the BYTES tensor do not hold the {count} elements of its shape. Send each"
            " element behind its length, a little-endian unsigned integer of 4 bytes, and nothing else.",
            limit=f"{count} elements",
        )
    return elements


def split_tail(tail: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    """Cuts what follows the JSON of a binary request into tensors, without a copy.

    Args:
        tail: Everything behind the JSON.
        sizes: `binary_data_size` of each binary input, in order, in bytes.

    Raises:
        MalformedRequest: The sizes do not add up to the tail.
    """
    if sum(sizes) != len(tail):
        raise MalformedRequest(
            f"{len(tail)} bytes follow the JSON, but the binary_data_size of the inputs add up to {sum(sizes)}."
            " Check Inference-Header-Content-Length and the sizes."
        )
    parts = []
    offset = 0
    for size in sizes:
        parts.append(tail[offset : offset + size])
        offset += size
    return parts


@dataclass(frozen=True)
class Tensor:
    """An input as a protocol delivers it; exactly one of the contents is not None.

    Attributes:
        name: As the client sent it.
        datatype: As the client sent it.
        shape: As the client sent it.
        raw: Little-endian bytes; elements of BYTES behind their lengths.
        values: Numbers in order.
        elements: BYTES elements.
        texts: BYTES elements as JSON carries them: base64, flat or nested.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: Buffer | None = None
    values: Sequence[int] | None = None
    elements: Sequence[bytes] | None = None
    texts: Sequence[Any] | None = None

    @property
    def cost(self) -> int:
        """How many numbers or characters have to be converted one by one; 0 for raw content."""
        if self.values is not None:
            return math.prod(self.shape)
        return sum(len(text) for text in self.flat_texts() if isinstance(text, str))

    def flat_texts(self) -> list[Any]:
        """Returns the texts without one level of lists: shape [B, 1] may come nested."""
        nested = (text if isinstance(text, list) else [text] for text in self.texts or ())
        return list(chain.from_iterable(nested))


def check_tensor(tensor: Tensor, spec: TensorSpec, max_images: int) -> int:
    """Compares name, datatype and shape with what the model takes.

    Args:
        tensor: The input.
        spec: The model's input.
        max_images: Largest batch.

    Returns:
        The number of images.

    Raises:
        MalformedRequest: They differ; says what is expected.
        RequestTooLarge: The batch is larger than `max_images`.
    """
    expected = f"{spec.name!r} {spec.datatype} {list(spec.shape)}"
    if (tensor.name, tensor.datatype) != (spec.name, spec.datatype):
        raise MalformedRequest(
            f"The input is {tensor.name[:80]!r} {tensor.datatype[:20]}; the model takes {expected}.", limit=expected
        )
    shape = tensor.shape
    # A list of files is often sent as [B].
    fits = shape[1:] == spec.shape[1:] or (spec.datatype == "BYTES" and len(shape) == 1)
    if not shape or not fits:
        raise MalformedRequest(f"The input's shape is {list(shape)[:8]}; the model takes {expected}.", limit=expected)
    if shape[0] < 1:
        raise MalformedRequest(f"The batch is {shape[0]}; send at least one image.", limit="1 image")
    if shape[0] > max_images:
        raise RequestTooLarge(
            f"The batch is {shape[0]}; one request may hold {max_images} images. Send several requests.",
            limit=f"{max_images} images",
        )
    return shape[0]


def pixels(tensor: Tensor) -> NDArray[np.uint8]:
    """Returns a checked UINT8 tensor as an array of its shape; raw content is not copied.

    Raises:
        MalformedRequest: The content does not fill the shape, or is not made of integers in [0, 255].
    """
    raw = tensor.raw if tensor.raw is not None else _pack(tensor.values or ())
    size = math.prod(tensor.shape)
    if len(raw) != size:
        raise MalformedRequest(
            f"The input holds {len(raw)} values; its shape {list(tensor.shape)} needs {size}.", limit=f"{size} values"
        )
    return np.frombuffer(raw, np.uint8).reshape(tensor.shape)


def _pack(values: Sequence[int]) -> bytes:
    """Packs integers in pieces, between which other threads may run."""
    try:
        return b"".join(bytes(values[start : start + _PIECE]) for start in range(0, len(values), _PIECE))
    except (TypeError, ValueError) as error:
        raise MalformedRequest("The input's data must be integers from 0 to 255.", limit="0 to 255") from error


def files(tensor: Tensor) -> list[bytes]:
    """Returns the elements of a checked BYTES tensor.

    Raises:
        MalformedRequest: There are more or fewer than the shape says, or a JSON element is not base64.
    """
    count = math.prod(tensor.shape)
    if tensor.raw is not None:
        return unpack_elements(tensor.raw, count)
    if tensor.elements is not None:
        found = list(tensor.elements)
    else:
        found = [_decode_text(text, index) for index, text in enumerate(tensor.flat_texts())]
    if len(found) != count:
        raise MalformedRequest(
            f"The input holds {len(found)} elements; its shape {list(tensor.shape)} needs {count}.",
            limit=f"{count} elements",
        )
    return found


def _decode_text(text: object, index: int) -> bytes:
    try:
        if not isinstance(text, str):
            raise ValueError("not a text")
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise MalformedRequest(
            f"Element {index} of the input is not base64. In JSON, send each image as the base64 of its file; or send"
            " the file itself with the binary extension."
        ) from error
