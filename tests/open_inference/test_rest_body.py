import asyncio
import gzip
import zlib

import httpx
import pytest
from starlette.requests import Request

from brainmri.batching.admission import Admission, AdmissionLimits, Work
from brainmri.batching.call import Deadline
from brainmri.blocking import Threads
from brainmri.errors import Overloaded
from brainmri.open_inference.rest_body import ENCODINGS, choose_encoding, compress, read_decompressed
from brainmri.settings import Settings
from brainmri.web.body import BodyLimits
from tests.open_inference.served import Served

PATH = "/v2/models/brain_mri/infer"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, deflate;q=0.5, gzip;q=0.9", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0.0", None),
        ("br", None),
        ("identity", None),
        ("", None),
    ],
)
def test_the_encoding_is_one_that_the_client_accepts(accepted: str, chosen: str | None) -> None:
    assert choose_encoding(accepted, 5000) == chosen
    assert choose_encoding(accepted, 500) is None


def test_compression_is_undone_by_the_standard_tools() -> None:
    assert gzip.decompress(compress(b"a" * 5000, "gzip")) == b"a" * 5000
    assert zlib.decompress(compress(b"a" * 5000, "deflate")) == b"a" * 5000


def post(server: Served, body: bytes, encoding: str) -> tuple[int, str]:
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    response = httpx.post(f"http://{server.http}{PATH}", content=body, headers=headers)
    return response.status_code, response.json()["error"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_small_body_that_unpacks_to_a_large_one_is_refused(server: Served, encoding: str) -> None:
    bomb = compress(bytes(60_000_000), encoding)
    assert len(bomb) < 3_000_000
    status, error = post(server, bomb, encoding)
    assert status == 413
    assert "unpacks to more than 3000000 bytes" in error


@pytest.mark.parametrize(
    "body",
    [b"{}", gzip.compress(b"{}")[:-4], gzip.compress(b"{}") + b"more", gzip.compress(b"{}" * 99)[:20], b""],
    ids=["plain", "no checksum", "two", "truncated", "empty"],
)
def test_a_body_that_is_not_what_its_encoding_says_is_refused(server: Served, body: bytes) -> None:
    assert post(server, body, "gzip") == (
        400,
        "The body is not one whole gzip stream. Compress all of it, or send it as it is.",
    )


def test_other_encodings_are_refused(server: Served) -> None:
    status, error = post(server, b"{}", "br")
    assert status == 415
    assert "'br'" in error


def holding(most_bytes: int) -> Admission:
    """Returns an admission with a limit on memory."""
    return Admission(AdmissionLimits.of(Settings(max_held_bytes=most_bytes)), lambda _: None)


def unpack(body: bytes, admission: Admission) -> tuple[bytes, int]:
    """Returns what a compressed body unpacks to, and what is held in memory then."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def run() -> tuple[bytes, int]:
        with admission.admit(Work.OTHER) as admitted:
            headers = [(b"content-encoding", b"gzip")]
            request = Request({"type": "http", "headers": headers}, receive)
            limits = BodyLimits(20_000_000, 10, Deadline.after(20), ENCODINGS)
            data = await read_decompressed(request, limits, Threads("tensors", 1), admitted)
            return data, admission.held_bytes

    return asyncio.run(run())


def test_what_a_body_unpacks_to_counts_as_held_until_the_request_ends() -> None:
    admission = holding(50_000_000)
    data = bytes(range(250)) * 40_000
    assert unpack(gzip.compress(data), admission) == (data, 10_000_000)
    assert admission.held_bytes == 0


def test_a_small_body_that_does_not_fit_unpacked_beside_the_others_is_refused() -> None:
    admission = holding(9_000_000)
    with admission.admit(Work.OTHER) as other:
        other.hold(1000)
        with pytest.raises(Overloaded):
            unpack(gzip.compress(bytes(10_000_000)), admission)
        assert admission.held_bytes == 1000
