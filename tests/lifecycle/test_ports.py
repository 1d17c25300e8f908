import pytest

from brainmri.lifecycle.listener import page_url


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 -- an address to be shown
        ("::", "http://[::1]:80"),
        ("10.1.2.3", "http://10.1.2.3:80"),
        ("scanner.example", "http://scanner.example:80"),
    ],
)
def test_the_page_is_opened_at_an_address_that_a_browser_takes(host: str, url: str) -> None:
    assert page_url(host, 80) == url
