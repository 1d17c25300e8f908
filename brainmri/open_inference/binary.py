"""Bytes of the wire: the length-prefixed elements of BYTES tensors, and the tail of a binary REST request."""

import struct
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from brainmri.errors import MalformedRequest

Buffer: TypeAlias = bytes | memoryview

_LENGTH = struct.Struct("<I")


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
