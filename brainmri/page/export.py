"""The page as a folder for any static host, apart from the service that it asks."""

import html
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from brainmri.errors import BrainMRIError, InvalidSettings
from brainmri.page.routes import SITE
from brainmri.web.middleware import CONTENT_POLICY

_API = '<meta name="brainmri-api" content="./">'
_HEADER_ONLY = re.compile(r" frame-ancestors [^;]*;?$")
"""Browsers ignore it in a document, and say so on every load."""


def write_site(folder: Path, api: str) -> None:
    """Writes the page, so that it asks the service at `api`, whose BRAINMRI_CORS_ORIGINS must name the static host.

    Args:
        folder: Is made, or exists and is empty.
        api: Address of the service, such as `https://brainmri.example.com/`.

    Raises:
        InvalidSettings: `api` is not an address of a service.
        BrainMRIError: The folder holds something, or cannot be written.
    """
    address = urlsplit(api)
    if address.scheme not in ("http", "https") or not address.hostname or address.query or address.fragment:
        raise InvalidSettings(f"--api is {api[:200]!r}. Give the service's address, such as https://mri.example.com/.")
    document = (SITE / "index.html").read_text("utf-8")
    head, _, rest = document.partition(_API)
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise BrainMRIError(f"{folder} is not empty. Name a new folder with --out.")
        shutil.copytree(SITE, folder, dirs_exist_ok=True)
        (folder / "index.html").write_text(f"{head}{_tags(api, f'{address.scheme}://{address.netloc}')}{rest}", "utf-8")
    except OSError as error:
        raise BrainMRIError(f"{folder} cannot be written: {error.strerror}.") from error


def _tags(api: str, origin: str) -> str:
    """Returns what tells the page its service, and what lets it talk to nobody else."""
    policy = _HEADER_ONLY.sub("", CONTENT_POLICY)
    for kind in ("connect-src", "img-src"):
        policy = policy.replace(f"{kind} 'self'", f"{kind} 'self' {origin}")
    address = api if api.endswith("/") else f"{api}/"
    return (
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
        f'<meta name="brainmri-api" content="{html.escape(address)}">'
    )
