"""The images of an uploaded archive, as `/score` and jobs choose and name them."""

from brainmri.bulk.archives.archive import Archive, Member
from brainmri.bulk.items import Item, is_image_name, item_id


def chosen_members(archive: Archive, *, is_form: bool) -> tuple[list[Member], int]:
    """Returns the members to score, in the archive's order, and how many others there are.

    Args:
        archive: Open.
        is_form: Whether it was sent as a form: then every file is meant to be an image, whatever its name.
    """
    members = [member for member in archive.members if is_form or is_image_name(member.name)]
    return members, len(archive.members) - len(members)


def member_item(member: Member, location: str = "") -> Item:
    """Returns a member as its sender knows it: by its name in the archive.

    Args:
        member: Of the archive.
        location: Path of the archive, for whoever opens it later.
    """
    return Item(item_id(member.name), member.name, location, member.name)
