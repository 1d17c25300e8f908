"""The images of an archive, as uploads, jobs and runs choose them, and as uploads and jobs name them."""

import io
from collections.abc import Callable, Iterator
from functools import cache, partial

from brainmri.bulk.archives.archive import Archive, Member
from brainmri.bulk.chosen import Choice
from brainmri.bulk.frames import BEGINNING_BYTES, Taken
from brainmri.bulk.items import Item, item_id
from brainmri.errors import ArchiveTooLarge

UPLOADED = Taken(volumes=False)
"""What a server takes of a file."""


def chosen_items(
    archive: Archive, choice: Choice, named: Callable[[Member], Item], taken: Taken | None, *, is_form: bool = False
) -> Iterator[Item]:
    """Yields the images to score, in the archive's order; reads the beginning of members whose names do not tell.

    Args:
        archive: Open.
        choice: Counts the members that are left out.
        named: Makes an item of a member.
        taken: Which slices of a member are images of their own; None takes each member for one.
        is_form: Whether it was sent as a form: then every file is meant to be an image, whatever its name.

    Raises:
        Stopped: Nobody waits for it.
    """
    for member in archive.members:
        # Once: a compressed tar is read in its order, or from its beginning again.
        head = cache(partial(archive.head, member, BEGINNING_BYTES))
        if not is_form and not choice.takes(member.name, head):
            continue
        if taken is None:
            yield named(member)
        else:
            yield from taken.items(named(member), partial(_stream, head), member.size)


def uploaded_items(archive: Archive, choice: Choice, most: int, location: str = "", *, is_form: bool) -> Iterator[Item]:
    """Yields the images of an upload as its sender knows them: by their names in the archive.

    Args:
        archive: Open.
        choice: Counts the members that are left out.
        most: Images, every frame counted.
        location: Path of the archive, for whoever opens it later.
        is_form: See `chosen_items`.

    Raises:
        ArchiveTooLarge: It holds more.
        Stopped: Nobody waits for it.
    """

    def named(member: Member) -> Item:
        return Item(item_id(member.name), member.name, location, member.name)

    for number, item in enumerate(chosen_items(archive, choice, named, UPLOADED, is_form=is_form)):
        if number == most:
            raise ArchiveTooLarge(
                f"The archive holds more than {most} images, every frame counted. Send it in several archives.",
                limit=f"{most} images",
            )
        yield item


def _stream(head: Callable[[], bytes]) -> io.BytesIO:
    return io.BytesIO(head())
