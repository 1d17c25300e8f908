"""Images out of an HTTP request, with every limit enforced while the bytes arrive."""

from starlette.requests import Request

from brainmri.batching.call import Deadline
from brainmri.errors import BrainMRIError, EmptyImage, MalformedRequest
from brainmri.settings import Settings
from brainmri.text import printable
from brainmri.web.body import BodyLimits, read_body
from brainmri.web.form import FormFile, FormLimits, file_too_large, read_files

FIELD = "image"
"""Field of the one file of `/predict`."""

FIELD_OF_MANY = "images"
"""Field of every file of `/predict_batch`."""

DICOM = "application/dicom"
"""Media type of a DICOM object (RFC 3240)."""

_FILE_TYPES = (DICOM, "application/octet-stream")
"""Media types of a file as it is, beside image/*; its first bytes say what it is."""

_TYPES = "multipart/form-data, image/*, application/dicom or application/octet-stream"

ENVELOPE_BYTES = 64 * 2**10
"""What the boundaries and headers of a form with one file may add."""


async def read_image(request: Request, settings: Settings, deadline: Deadline) -> bytes:
    """Reads the one image of a request: the multipart field `image`, or a body that is the file itself.

    Args:
        request: The request; its body is consumed.
        settings: Limits on bytes and on pauses.
        deadline: When the upload must be complete.

    Raises:
        ImageTooLarge: The image exceeds the limit; raised as soon as it does.
        EmptyImage: No bytes.
        MalformedRequest: Another content type, no file, several files, another field, or not valid multipart.
        BrainMRIError: Other errors as in `receive_body`.
    """
    most = settings.max_image_bytes
    kind = content_type(request)
    if kind == "multipart/form-data":
        body = BodyLimits(most + ENVELOPE_BYTES, settings.upload_idle_timeout_s, deadline)
        files = await read_files(request, body, FormLimits(FIELD, 1, most), lambda size, _: file_too_large(size, most))
        image = _content(files[0], most)
        if isinstance(image, BrainMRIError):
            raise image
        return image
    if kind.startswith("image/") or kind in _FILE_TYPES:
        data = await read_body(request, BodyLimits(most, settings.upload_idle_timeout_s, deadline), file_too_large)
        if not data:
            raise _empty()
        return data
    if kind == "application/json":
        raise MalformedRequest(
            'The body is JSON. Send base64 to POST /v1/models/NAME:predict as {"instances": [{"b64": "..."}]}, or the'
            f" file itself as multipart/form-data in the field {FIELD!r}, or as it is with a type such as image/jpeg.",
            limit=_TYPES,
        )
    raise MalformedRequest(
        f"The content type is {kind[:80]!r}. Send multipart/form-data with one file in the field {FIELD!r}, or the"
        " image itself with a content type such as image/jpeg or application/dicom.",
        limit=_TYPES,
    )


async def read_images(request: Request, settings: Settings, deadline: Deadline) -> list[bytes | BrainMRIError]:
    """Reads the files of the multipart field `images`; see `read_named_images`."""
    return [content for _, content in await read_named_images(request, settings, deadline)]


async def read_named_images(
    request: Request, settings: Settings, deadline: Deadline
) -> list[tuple[str, bytes | BrainMRIError]]:
    """Reads the files of the multipart field `images`.

    Returns:
        Name and content of at least one; in place of a file that is empty or exceeds the limit of one image stands its
        error.

    Raises:
        RequestTooLarge: The body or its number of files exceeds its limit; raised as soon as it does.
        MalformedRequest: Another content type, no file, another field, or not valid multipart.
        BrainMRIError: Other errors as in `receive_body`.
    """
    if (kind := content_type(request)) != "multipart/form-data":
        raise MalformedRequest(
            f"The content type is {kind[:80]!r}. Send multipart/form-data with files in the field {FIELD_OF_MANY!r}.",
            limit="multipart/form-data",
        )
    body = BodyLimits(settings.max_request_bytes, settings.upload_idle_timeout_s, deadline)
    form = FormLimits(FIELD_OF_MANY, settings.max_request_images, settings.max_image_bytes)
    files = await read_files(request, body, form)
    return [(printable(file.name), _content(file, settings.max_image_bytes)) for file in files]


def _content(file: FormFile, max_bytes: int) -> bytes | BrainMRIError:
    if file.size > max_bytes:
        return file_too_large(file.size, max_bytes)
    return bytes(file.data) if file.data else _empty()


def _empty() -> EmptyImage:
    return EmptyImage("The image is empty (0 bytes). Send the file's content.")


def content_type(request: Request) -> str:
    """Returns the media type of the body, in lower case and without parameters; empty if none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
