"""The file of API keys: one line a key, `name algorithm salt hash`, with nothing in it that opens a door.

A key is 256 random bits, so no dictionary holds it and one SHA-256 is enough. A slow hash (scrypt) guards passwords
that people choose; here it would only let a caller burn 50 ms of CPU with every wrong key.
"""

import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from brainmri import durable
from brainmri.errors import InvalidSettings

ALGORITHM = "sha256"
MAX_FILE_BYTES = 64 * 2**10
"""About 400 keys; reading that many takes a millisecond, and the server reads on its event loop."""

MAX_KEY_CHARACTERS = 256
"""Longest key that is compared: one that a caller makes up must not cost much hashing. Ours have 52."""

_PREFIX = "brainmri_"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{32,128}")
_HEADER = "# API keys of brainmri: name algorithm salt hash. Written by `brainmri keys`.\n"


@dataclass(frozen=True)
class HashedKey:
    """One line of the file.

    Attributes:
        name: Who holds the key: 1 to 64 letters, digits, dots, dashes or underscores.
        salt: Random bytes that are hashed before the key.
        digest: SHA-256 of salt and key.
    """

    name: str
    salt: bytes
    digest: bytes

    def matches(self, presented: str) -> bool:
        """Tells whether `presented` is this key, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(_digest(self.salt, presented), self.digest)


def new_key(name: str) -> tuple[str, HashedKey]:
    """Makes a key; returns it, which is kept nowhere else, and its line for the file.

    Raises:
        InvalidSettings: A bad name.
    """
    if not _NAME.fullmatch(name):
        raise InvalidSettings(f"{name[:80]!r} is no name for a key. Use 1 to 64 letters, digits, dots, dashes or _.")
    key, salt = _PREFIX + secrets.token_urlsafe(32), secrets.token_bytes(16)
    return key, HashedKey(name, salt, _digest(salt, key))


def read_keys(file: Path) -> tuple[HashedKey, ...]:
    """Reads the file.

    Raises:
        InvalidSettings: It is missing, unreadable, too large, or a line of it is not of this form.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidSettings(
            f"The file of API keys {file} cannot be read: {error.strerror}. Make it with `brainmri keys add NAME`."
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidSettings(f"{file} has more than {MAX_FILE_BYTES} bytes; that is no file of API keys.")
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"{file} is not ASCII text; that is no file of API keys.") from error
    keys = tuple(_parse(file, number, line) for number, line in enumerate(lines, 1) if line and line[0] != "#")
    if len({key.name for key in keys}) < len(keys):
        raise InvalidSettings(f"{file} holds two keys of one name. Remove one of the lines.")
    return keys


@contextmanager
def edit_keys(file: Path) -> Iterator[dict[str, HashedKey]]:
    """Yields the keys by name; what is in the dict at the end replaces the file, whole or not at all, with mode 600.

    Raises:
        InvalidSettings: The file is broken, or cannot be written.
    """
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise InvalidSettings(f"The folder of {file} cannot be opened: {error.strerror}.") from error
    try:
        # On the folder, because the file itself is replaced.
        fcntl.flock(folder, fcntl.LOCK_EX)
        keys = {key.name: key for key in read_keys(file)} if file.exists() else {}
        yield keys
        _replace(file, keys.values())
    finally:
        os.close(folder)


def _replace(file: Path, keys: Iterable[HashedKey]) -> None:
    lines = [f"{key.name} {ALGORITHM} {key.salt.hex()} {key.digest.hex()}\n" for key in keys]
    text = _HEADER + "".join(lines)
    if len(text) > MAX_FILE_BYTES:
        raise InvalidSettings(f"{file} would have more than {MAX_FILE_BYTES} bytes. Remove keys that nobody uses.")
    try:
        durable.write(file, lambda stream: stream.write(text.encode("ascii")), mode=0o600)
    except OSError as error:
        raise InvalidSettings(f"{file} cannot be written: {error.strerror}.") from error


def _parse(file: Path, number: int, line: str) -> HashedKey:
    match line.split():
        case [name, algorithm, salt, digest] if (
            algorithm == ALGORITHM and _NAME.fullmatch(name) and _HEX.fullmatch(salt) and _HEX.fullmatch(digest)
        ):
            try:
                return HashedKey(name, bytes.fromhex(salt), bytes.fromhex(digest))
            except ValueError:  # An odd number of digits.
                pass
    # Never the line itself: somebody may have written a key there.
    raise InvalidSettings(f"Line {number} of {file} is not `name {ALGORITHM} salt hash`. Use `brainmri keys`.")


def _digest(salt: bytes, key: str) -> bytes:
    return hashlib.sha256(salt + key.encode("utf-8", "surrogatepass")).digest()
