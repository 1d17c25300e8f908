"""One image out of an HTTP request, with the size limit enforced while the bytes arrive."""

from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from brainmri.errors import EmptyImage, ImageTooLarge, MalformedRequest

FIELD = "image"

_ENVELOPE_BYTES = 64 * 2**10
"""What the boundaries and headers of a multipart body may add."""


async def read_image(request: Request, max_bytes: int) -> bytes:
    """Reads the one image of a request: the multipart field `image`, or a raw body of type `image/*`.

    Args:
        request: The request; its body is consumed.
        max_bytes: Largest image, in bytes. Reading stops as soon as it is exceeded.

    Raises:
        ImageTooLarge: The body exceeds the limit.
        EmptyImage: A raw body without bytes.
        MalformedRequest: Another content type, no file, several files, or a body that is not multipart.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _from_form(request, max_bytes)
    if kind.startswith("image/"):
        data = b"".join([chunk async for chunk in _bounded(request, max_bytes, max_bytes)])
        if not data:
            raise EmptyImage("The image is empty (0 bytes). Send the file's content.")
        return data
    raise MalformedRequest(
        f"The content type is {kind[:80]!r}. Send multipart/form-data with one file in the field {FIELD!r}, or the"
        " image itself with a content type such as image/jpeg.",
        limit="multipart/form-data or image/*",
    )


async def _bounded(request: Request, max_body: int, max_bytes: int) -> AsyncGenerator[bytes, None]:
    declared = request.headers.get("content-length", "")
    received = int(declared) if declared.isdigit() else 0
    if received > max_body:
        raise _too_large(received, max_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_body:
            raise _too_large(received, max_bytes)
        yield chunk


def _too_large(received: int, max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"The request has {received} bytes or more; an image may have at most {max_bytes}. Send a smaller file.",
        limit=f"{max_bytes} bytes",
    )


async def _from_form(request: Request, max_bytes: int) -> bytes:
    stream = _bounded(request, max_bytes + _ENVELOPE_BYTES, max_bytes)
    parser = MultiPartParser(request.headers, stream, max_files=8, max_fields=8)
    # The body is bounded: keep it in memory, because the root file system may be read-only.
    parser.spool_max_size = max_bytes + _ENVELOPE_BYTES
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise MalformedRequest(
            f"The body is not valid multipart/form-data. Send one file in the field {FIELD!r}."
        ) from error
    try:
        parts = form.multi_items()
        files = [value for name, value in parts if name == FIELD and isinstance(value, UploadFile)]
        if len(files) != 1 or len(parts) != 1:
            found = ", ".join(sorted({repr(name[:40]) for name, _ in parts})) or "no fields"
            raise MalformedRequest(
                f"The form must hold exactly one file in the field {FIELD!r}; it holds {len(files)} of them among"
                f" {len(parts)} parts ({found}). Send one image a request.",
                limit="1 file",
            )
        return await files[0].read()
    finally:
        await form.close()
