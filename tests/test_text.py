import pytest

from brainmri.errors import ImageTooLarge
from brainmri.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("Größe 5 µm, 日本語, 😀", "Größe 5 µm, 日本語, 😀"),
        ("a\nb\r\tc\x00", r"a\nb\r\tc\x00"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800 and \udfff", r"\ud800 and \udfff"),
        ("a\udcff.png", r"a\udcff.png"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("one\u2028two", r"one\u2028two"),
    ],
)
def test_what_cannot_be_shown_is_escaped_and_all_else_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode().decode() == shown


def test_every_message_of_an_error_can_be_shown() -> None:
    error = ImageTooLarge("The image 'a\ud800\n' is too large.")
    assert (error.message, str(error)) == (r"The image 'a\ud800\n' is too large.",) * 2
