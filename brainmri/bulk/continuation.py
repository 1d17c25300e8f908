"""Where the answer to an archive ended early, as a token with which the rest is asked for.

Nothing is kept for it: the archive is sent again, and its list of files says whether it is the same one.
"""

import hashlib
import json
import re
from collections.abc import Sequence

from brainmri.bulk.archives.members import Member
from brainmri.errors import MalformedRequest
from brainmri.text import printable

_TOKEN = re.compile(r"([0-9]{1,9})-([0-9a-f]{16})")


def token(members: Sequence[Member], images: int, done: int) -> str:
    """Returns the token of an answer that ended after so many rows.

    Args:
        members: All files of the archive, in their order.
        images: How many images they hold.
        done: How many of those have a row, from the first on.
    """
    return f"{done}-{_digest(members, images)}"


def require_token(given: str | None) -> None:
    """Refuses what cannot be a token, before an upload.

    Raises:
        MalformedRequest: It is none.
    """
    if given is not None and not _TOKEN.fullmatch(given):
        raise _refused(given)


def done_before(members: Sequence[Member], images: int, given: str | None) -> int:
    """Returns how many images have had their rows in earlier answers.

    Args:
        members: All files of the archive, in their order.
        images: How many images they hold.
        given: The token; None begins with the first image.

    Raises:
        MalformedRequest: It is not a token, or one of another archive.
    """
    if given is None:
        return 0
    found = _TOKEN.fullmatch(given)
    if found is None or found[2] != _digest(members, images) or int(found[1]) > images:
        raise _refused(given)
    return int(found[1])


def _digest(members: Sequence[Member], images: int) -> str:
    listed = [images, *((one.name, one.size) for one in members)]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]


def _refused(given: str) -> MalformedRequest:
    return MalformedRequest(
        f"'{printable(given[:40])}' is not the token of an answer to this archive. Send the archive unchanged with the"
        " `resume` of its summary, or leave the parameter out to begin with the first image."
    )
