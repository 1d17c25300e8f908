"""Copies a model archive into the pod, and fails unless it has the SHA-256 that the manifest names.

Runs in an init container, before anything opens the archive: `fetch_model.py DESTINATION`. The standard library, and
for https the certificates of certifi, which the image has because libraries of the service need them.
"""

import hashlib
import hmac
import os
import re
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

SOURCE = "MODEL_SOURCE"
"""Environment variable: a path, or an https address such as a presigned one of an object store."""

SHA256 = "MODEL_SHA256"
"""Environment variable: what the file must hash to, 64 hexadecimal digits."""

MAX_BYTES = 2 * 2**30
_CHUNK_BYTES = 2**20
_TIMEOUT_S = 30


class Refused(Exception):
    """The model cannot be taken; the message says why and what to do."""


def fetch(source: str, sha256: str, destination: Path, max_bytes: int = MAX_BYTES) -> None:
    """Copies a file, or downloads one, and keeps it only if its hash is the expected one.

    Args:
        source: Path, or https address.
        sha256: Expected hash, hexadecimal.
        destination: Where the file goes; its folder is made.
        max_bytes: A longer file is refused.

    Raises:
        Refused: No such file, a bad address, too long, or another hash. Nothing is left at `destination`.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refused(f"{SHA256} must be 64 hexadecimal digits in lower case, as sha256sum prints them.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    aside = destination.with_name(f".{destination.name}.part")
    try:
        with _open(source) as stream, aside.open("wb") as file:
            actual = _copy(stream, file, max_bytes)
        if not hmac.compare_digest(actual, sha256):
            raise Refused(f"{_shown(source)} has the SHA-256 {actual}; {SHA256} says {sha256}. One of them is wrong.")
        aside.replace(destination)
    except OSError as error:
        raise Refused(f"{_shown(source)} cannot be fetched: {error}.") from error
    finally:
        aside.unlink(missing_ok=True)


def trust() -> ssl.SSLContext:
    """Returns what an https address is checked with: the operator's SSL_CERT_FILE or SSL_CERT_DIR, else certifi's file.

    The recommended image has no certificates of the system, so by itself Python would trust nobody there.
    """
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        import certifi  # noqa: PLC0415 -- a path and a CA of the operator's need none

        context.load_verify_locations(certifi.where())
    return context


def _open(source: str) -> BinaryIO:
    scheme = urlsplit(source).scheme
    if not scheme:
        return Path(source).open("rb")
    if scheme != "https":
        raise Refused(f"{SOURCE} must be a path or an https address, not {scheme}.")
    stream: BinaryIO = urllib.request.urlopen(  # noqa: S310 -- https, see above
        source, timeout=_TIMEOUT_S, context=trust()
    )
    return stream


def _copy(stream: BinaryIO, file: BinaryIO, max_bytes: int) -> str:
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise Refused(f"The model has more than {max_bytes} bytes. That is no model of this service.")
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _shown(source: str) -> str:
    # A presigned address is a password: its query is never written to a log.
    return source.partition("?")[0]


def main() -> int:
    """Returns the exit status."""
    try:
        fetch(os.environ[SOURCE], os.environ[SHA256], Path(sys.argv[1]))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyError as error:
        sys.stderr.write(f"The environment variable {error} is not set.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
