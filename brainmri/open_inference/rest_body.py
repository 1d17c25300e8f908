"""The body of an inference request over REST, decompressed within its limit; and the compression of an answer."""

import gzip
import zlib

from starlette.requests import Request

from brainmri.batching.admission import Admitted
from brainmri.blocking import Threads
from brainmri.errors import MalformedRequest, RequestTooLarge
from brainmri.web.body import BodyLimits, read_body

ENCODINGS = ("gzip", "deflate")

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_PIECE = 4 * 2**20
"""Bytes that are unpacked before they are counted."""

_WORTH_COMPRESSING = 1024
"""Bytes; below it the frame of a compressed answer costs more than it saves."""


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
        size = min(_PIECE, max_bytes + 1 - len(data))
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
