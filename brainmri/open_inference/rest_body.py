"""The body of a REST request: its JSON, arrays of pixels in it, and the tensors of the binary extension behind it."""

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError
from starlette.requests import Request

from brainmri.batching.admission import Admitted
from brainmri.blocking import Stop, Threads
from brainmri.errors import MalformedRequest, RequestTooLarge
from brainmri.open_inference.dataplane import MAX_ID_CHARACTERS
from brainmri.web.body import BodyLimits, read_body

_KEY = b'"data"'
_OPENING = re.compile(rb'"data"\s*:\s*(?=\[)')
_CHARACTERS = b"[]0123456789, \t\r\n"
_LISTS_TO_SPACES = bytes.maketrans(b"[]", b"  ")
_PIECE = 65536
_MOST_ARRAYS = 64

_MOST_VALUES = 100_000
"""Values in a document besides pixels; parsing them holds the interpreter's lock, for 10 ms at most."""

# JSON may write integers of thousands of digits, which Python refuses to print: messages would fail.
Int64 = Annotated[StrictInt, Field(ge=-(2**63), le=2**63 - 1)]

ENCODINGS = ("gzip", "deflate")

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_INFLATED_PIECE_BYTES = 4 * 2**20
"""Bytes that are unpacked before they are counted."""

_WORTH_COMPRESSING = 1024
"""Bytes; below it the frame of a compressed answer costs more than it saves."""


@dataclass(frozen=True)
class Numbers:
    """An array of integers in [0, 255].

    Attributes:
        packed: One byte for each.
        lists: How many lists it was made of: 1 when it was flat.
    """

    packed: bytes
    lists: int

    def is_flat_or_nested_as(self, shape: tuple[int, ...]) -> bool:
        """Tells whether the numbers came in one list, or in as many as `shape` has."""
        return self.lists in (1, sum(math.prod(shape[:depth]) for depth in range(len(shape))))


def take_numbers(document: bytes, token: str, stop: Stop) -> tuple[bytes, dict[str, Numbers]]:
    """Replaces each `"data": [numbers]` by `"data": "name"`.

    The standard parser makes an object for each of 268,203 numbers an image and a list for each of its 89,401 pixels,
    and holds the interpreter's lock meanwhile: the event loop stood still for more than half a second for one request
    of 16 nested images. Here the digits become bytes piece by piece, and other threads run in between. Arrays of
    anything else, such as texts or fractions, stay as they are.

    Args:
        document: JSON.
        token: A text that the document cannot contain, the beginning of every name.
        stop: Ends the search.

    Returns:
        What is left of the document, and the arrays by name.

    Raises:
        MalformedRequest: Something between the commas is not an integer from 0 to 255, or there are too many arrays.
        Stopped: Nobody waits for it.
    """
    kept: list[bytes] = []
    found: dict[str, Numbers] = {}
    done = 0
    # In valid JSON this text followed by a colon is always a key: in a text its quotes would be escaped.
    at = document.find(_KEY)
    while at >= 0:
        stop.check()
        opening = _OPENING.match(document, at)
        start = opening.end() if opening else at
        end = _end_of_numbers(document, start) if opening else start
        if len(found) == _MOST_ARRAYS:
            raise MalformedRequest(
                f"The JSON holds more than {_MOST_ARRAYS} arrays of data. Send one for each input.",
                limit=f"{_MOST_ARRAYS} arrays",
            )
        if end > start:
            name = f"{token}{len(found)}"
            found[name] = Numbers(_pack(document, start, end, stop), _count(document, b"[", start, end))
            kept += [document[done:start], f'"{name}"'.encode()]
            done = end
        at = document.find(_KEY, max(at + 1, end))
    return b"".join([*kept, document[done:]]) if kept else document, found


def _end_of_numbers(document: bytes, start: int) -> int:
    """Returns the end of the array that begins at `start`, or `start` when it holds anything but numbers and lists."""
    position = start
    while piece := document[position : position + _PIECE]:
        foreign = piece.translate(None, _CHARACTERS)
        if foreign:
            position += piece.index(foreign[:1])
            break
        position += len(piece)
    end = document.rfind(b"]", start, position) + 1
    balanced = _count(document, b"[", start, end) == _count(document, b"]", start, end)
    rest = document[max(end, start) : position].translate(None, b", \t\r\n")
    return end if end > start and balanced and not rest else start


def _count(document: bytes, sign: bytes, start: int, end: int) -> int:
    return sum(document.count(sign, at, min(at + _PIECE, end)) for at in range(start, end, _PIECE))


def _pack(document: bytes, start: int, end: int, stop: Stop) -> bytes:
    packed = bytearray()
    try:
        while start < end:
            stop.check()
            last = end if end - start <= _PIECE else document.rindex(b",", start, start + _PIECE)
            texts = document[start:last].translate(_LISTS_TO_SPACES)
            if not texts.isspace():
                packed += bytes(map(int, texts.split(b",")))
            elif last != end or packed:
                raise ValueError("nothing between two commas")
            start = last + 1
    except ValueError as error:
        raise MalformedRequest(
            "The data of the input must be integers from 0 to 255, flat or nested as its shape says.", limit="0 to 255"
        ) from error
    return bytes(packed)


class InputParameters(BaseModel):
    """What says where an input's content is."""

    binary_data_size: StrictInt | None = Field(default=None, ge=0, le=2**40)
    shared_memory_region: object = None


class Input(BaseModel):
    """An input; `data` is a text where pixels have been taken out."""

    name: str
    datatype: str
    shape: list[Int64] = Field(max_length=8)
    parameters: InputParameters = InputParameters()
    data: list[Any] | str | None = None


class OutputParameters(BaseModel):
    """How an output is to be answered."""

    binary_data: StrictBool | None = None
    classification: Int64 | None = None
    label: str | None = None
    shared_memory_region: object = None


class Output(BaseModel):
    """A requested output."""

    name: str
    parameters: OutputParameters = OutputParameters()


class Parameters(BaseModel):
    """Parameters of the whole request."""

    binary_data_output: StrictBool = False
    timeout: Int64 = 0
    priority: Int64 = 0
    frame: Int64 | None = None
    force: StrictBool = False


class Header(BaseModel):
    """The whole document."""

    id: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)
    parameters: Parameters = Parameters()
    inputs: list[Input]
    outputs: list[Output] = []


def parse_header(document: bytes) -> Header:
    """Reads the document, without its pixels.

    Raises:
        MalformedRequest: It is not JSON, or not what the protocol describes.
    """
    if sum(document.count(sign) for sign in (b",", b"[", b"{")) > _MOST_VALUES:
        raise MalformedRequest(
            f"The JSON holds more than {_MOST_VALUES} values that are not pixels. Pixels are integers from 0 to 255.",
            limit=f"{_MOST_VALUES} values",
        )
    try:
        # It knows the fields, so that it makes no objects of others; and its texts have no lone surrogates.
        return Header.model_validate_json(document)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if fault["type"] == "json_invalid":
            raise MalformedRequest(
                "The request is not JSON. Send the protocol's JSON; with tensors behind it, give its length in"
                " Inference-Header-Content-Length; with 0 there, the body is one raw image."
            ) from error
        where = ".".join(str(part) for part in fault["loc"]) or "the document"
        raise MalformedRequest(f"The JSON of the request is invalid at {where[:200]}: {fault['msg']}.") from error


async def read_decompressed(request: Request, limits: BodyLimits, threads: Threads, admitted: Admitted | None) -> bytes:
    """Returns the whole body; `limits.max_bytes` holds for what is sent and for what it unpacks to.

    What it unpacks to counts as held in memory, like what was sent.

    Args:
        request: The request; its body is consumed.
        limits: Size and pace.
        threads: Those that unpack.
        admitted: Counts the memory.

    Raises:
        RequestTooLarge: One of the two is larger.
        Overloaded: It does not fit beside the bodies of the other requests.
        MalformedRequest: The body is not what its content encoding says.
        BrainMRIError: Others as in `brainmri.web.body.receive_body`.
    """
    body = await read_body(request, limits)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        return body
    return await _decompress(body, encoding, limits.max_bytes, threads, admitted)


async def _decompress(body: bytes, encoding: str, max_bytes: int, threads: Threads, admitted: Admitted | None) -> bytes:
    unpacker = zlib.decompressobj(_WINDOW[encoding])
    data = bytearray()
    while not unpacker.eof:
        size = min(_INFLATED_PIECE_BYTES, max_bytes + 1 - len(data))
        try:
            piece = await threads.run(unpacker.decompress, body, size)
        except zlib.error as error:
            raise _not_compressed(encoding) from error
        body = unpacker.unconsumed_tail
        if not piece and not body:
            break
        if admitted is not None:
            admitted.hold(len(piece))
        data += piece
        if len(data) > max_bytes:
            raise RequestTooLarge(
                f"The body unpacks to more than {max_bytes} bytes. Send it in smaller requests.",
                limit=f"{max_bytes} bytes",
            )
    if not unpacker.eof or unpacker.unused_data:
        raise _not_compressed(encoding)
    return bytes(data)


def _not_compressed(encoding: str) -> MalformedRequest:
    return MalformedRequest(f"The body is not one whole {encoding} stream. Compress all of it, or send it as it is.")


def choose_encoding(accepted: str, size: int) -> str | None:
    """Returns the content encoding for an answer, None for none.

    Args:
        accepted: The header `Accept-Encoding`.
        size: Of the answer, in bytes.
    """
    if size < _WORTH_COMPRESSING:
        return None
    offers = [offer.replace(" ", "").lower().partition(";") for offer in accepted.split(",")]
    wanted = {name for name, _, quality in offers if quality not in ("q=0", "q=0.0", "q=0.00", "q=0.000")}
    return next((encoding for encoding in ENCODINGS if encoding in wanted), None)


def compress(body: bytes, encoding: str) -> bytes:
    """Returns the body in `gzip` or `deflate`."""
    return gzip.compress(body, compresslevel=1, mtime=0) if encoding == "gzip" else zlib.compress(body, level=1)
