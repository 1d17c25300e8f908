"""What an AE title may be: the value representation AE of PS3.5, table 6.2-1."""

from brainmri.errors import InvalidSettings

_MOST_CHARACTERS = 16


def require_ae_title(title: str) -> None:
    """Checks a title.

    Raises:
        InvalidSettings: No application entity may be called so.
    """
    is_text = title.isascii() and title.isprintable() and "\\" not in title
    if not (is_text and title.strip() and len(title) <= _MOST_CHARACTERS):
        raise InvalidSettings(
            f"The AE title is {title[:80]!r}. Use 1 to {_MOST_CHARACTERS} characters of ASCII, with one beside spaces,"
            " and no backslash.",
            limit=f"{_MOST_CHARACTERS} characters",
        )
