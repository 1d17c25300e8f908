"""The images of an archive, as uploads, jobs and runs choose them, and as uploads and jobs name them."""

from collections.abc import Iterator
from functools import partial

from brainmri.bulk.archives.archive import Archive, Member
from brainmri.bulk.chosen import Choice
from brainmri.bulk.items import Item, item_id
from brainmri.imaging.signatures import HEAD_BYTES


def chosen_members(archive: Archive, choice: Choice, *, is_form: bool = False) -> Iterator[Member]:
    """Yields the members to score, in the archive's order; reads the beginning of those whose names do not tell.

    Args:
        archive: Open.
        choice: Counts the others.
        is_form: Whether it was sent as a form: then every file is meant to be an image, whatever its name.

    Raises:
        Stopped: Nobody waits for it.
    """
    for member in archive.members:
        if is_form or choice.takes(member.name, partial(archive.head, member, HEAD_BYTES)):
            yield member


def member_item(member: Member, location: str = "") -> Item:
    """Returns a member as its sender knows it: by its name in the archive.

    Args:
        member: Of the archive.
        location: Path of the archive, for whoever opens it later.
    """
    return Item(item_id(member.name), member.name, location, member.name)
