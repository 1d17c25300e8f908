"""The files of one multipart form, kept in memory and nowhere else, or handed on while they arrive."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from brainmri.errors import BrainMRIError, ImageTooLarge, MalformedRequest, RequestTooLarge
from brainmri.web.body import BodyLimits, receive_body, request_too_large

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class FileSink(Protocol):
    """Where the content of one file goes."""

    def extend(self, data: bytes) -> object:
        """Takes the next bytes."""


Write = Callable[[bytes], Awaitable[None] | None]
"""Takes the next piece of a body; what it returns is waited for."""


@dataclass
class FormFile:
    """One file of a form.

    Attributes:
        max_bytes: The most that is kept.
        name: As the client gave it.
        size: Its bytes, also those beyond the limit.
        data: Its content; empty when it exceeds the limit.
    """

    max_bytes: int
    name: str = ""
    size: int = 0
    data: bytearray = field(default_factory=bytearray)

    def extend(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.size += len(data)
        if self.size <= self.max_bytes:
            self.data += data
        else:
            self.data.clear()


@dataclass(frozen=True)
class FormLimits:
    """What a form may hold.

    Attributes:
        field: The one field that it may have.
        max_files: Most files in it.
        max_file_bytes: Largest file, in bytes; what comes after is counted and dropped.
    """

    field: str
    max_files: int
    max_file_bytes: int


class _Collector:
    """Receives the parser's events; refuses what the form may not hold as soon as it shows."""

    def __init__(self, limits: FormLimits, begin: Callable[[str], FileSink]) -> None:
        self._limits = limits
        self._begin = begin
        self._sink: FileSink | None = None
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self.files = 0
        self.complete = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._extend_name,
            "on_header_value": self._extend_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_file,
            "on_part_data": self._extend_file,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._disposition = b""

    def _extend_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _extend_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _begin_file(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = _filename(options, self._disposition)
        if name != self._limits.field or filename is None:
            kind = "text" if filename is None else "file"
            raise MalformedRequest(
                f"The form has a {kind} part {name[:40]!r}. Send only files, in the field {self._limits.field!r}."
            )
        if self.files == self._limits.max_files:
            raise _too_many(self._limits)
        self.files += 1
        self._sink = self._begin(filename)

    def _extend_file(self, data: bytes, start: int, end: int) -> None:
        assert self._sink is not None  # noqa: S101 -- a part's headers come before its data
        self._sink.extend(data[start:end])

    def _end(self) -> None:
        self.complete = True


def _filename(options: dict[bytes, bytes], disposition: bytes) -> str | None:
    """Returns the name of a part's file; None for a part that is not a file.

    RFC 7578 wants no `filename*` (RFC 5987) in forms, but clients that send nothing else are common.
    """
    if b"filename" in options:
        return options[b"filename"].decode("utf-8", "replace")
    if b"filename*" not in disposition.lower():
        return None
    message = Message()
    message["Content-Disposition"] = disposition.decode("latin-1")
    return message.get_filename()


async def read_files(
    request: Request,
    body: BodyLimits,
    form: FormLimits,
    too_large: Callable[[int, int], BrainMRIError] = request_too_large,
) -> list[FormFile]:
    """Reads a body of type `multipart/form-data` that holds files in one field.

    Args:
        request: The request; its body is consumed.
        body: Limits of the body.
        form: Limits of the form.
        too_large: Makes the error for a body that is too large.

    Returns:
        At least one file, in the order of the form.

    Raises:
        MalformedRequest: Not multipart, cut off, without a file, or with another field.
        RequestTooLarge: Too many files, or a body that is too large.
        BrainMRIError: Other errors as in `receive_body`.
    """
    files: list[FormFile] = []

    def begin(name: str) -> FormFile:
        files.append(FormFile(form.max_file_bytes, name))
        return files[-1]

    await hand_on_files(request, body, form, begin, too_large)
    return files


async def hand_on_files(
    request: Request,
    body: BodyLimits,
    form: FormLimits,
    begin: Callable[[str], FileSink],
    too_large: Callable[[int, int], BrainMRIError] = request_too_large,
    through: Callable[[Write], Write] = lambda write: write,
) -> None:
    """Reads such a body without keeping any of it; arguments and errors as in `read_files`.

    Args:
        request: The request; its body is consumed.
        body: Limits of the body.
        form: Limits of the form.
        begin: Called with the name of each file, as the client gave it; returns where its content goes.
        too_large: Makes the error for a body that is too large.
        through: What lies between the body and its parser, such as a thread.
    """
    collector = _Collector(form, begin)
    try:
        _, options = parse_options_header(request.headers.get("content-type", ""))
        parser = MultipartParser(options[b"boundary"], collector.callbacks())
        await receive_body(request, body, through(_guarded(parser, form)), too_large)
    except (FormParserError, KeyError) as error:
        raise _malformed(form) from error
    if not collector.complete:
        raise _malformed(form)
    if not collector.files:
        raise MalformedRequest(f"The form holds no file. Send at least one in the field {form.field!r}.")


def _guarded(parser: MultipartParser, form: FormLimits) -> Write:
    """Returns the parser's input, closed to bodies that are full of boundaries.

    Each one that turns out to be none costs the parser a slow path: 0.3 s for 256 KiB of them, measured with
    python-multipart 0.0.34, in which the event loop stands still.
    """
    delimiters = 0

    def write(piece: bytes) -> None:
        nonlocal delimiters
        delimiters += piece.count(parser.boundary)
        if delimiters > form.max_files + 1:
            raise _too_many(form)
        parser.write(piece)

    return write


def file_too_large(size: int, max_bytes: int) -> ImageTooLarge:
    """Returns the error for an image that was not read to its end, of `size` bytes or more."""
    return ImageTooLarge(
        f"The image has {size} bytes or more; an image may have at most {max_bytes}. Send a smaller file.",
        limit=f"{max_bytes} bytes",
    )


def _malformed(form: FormLimits) -> MalformedRequest:
    return MalformedRequest(
        f"The body is not valid multipart/form-data, or was cut off. Send files in the field {form.field!r}."
    )


def _too_many(form: FormLimits) -> BrainMRIError:
    if form.max_files == 1:
        return MalformedRequest(
            f"The form holds several files. Send one file in the field {form.field!r}, or several to /predict_batch.",
            limit="1 file",
        )
    return RequestTooLarge(
        f"The request has more than {form.max_files} images. Send them in several requests.",
        limit=f"{form.max_files} images",
    )
