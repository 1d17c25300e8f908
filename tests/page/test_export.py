import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from brainmri.commands.cli import app
from brainmri.errors import BrainMRIError, InvalidSettings
from brainmri.page.export import write_site
from brainmri.page.routes import SITE


def test_the_folder_holds_every_file_and_names_its_service(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["page", "--out", str(tmp_path / "site"), "--api", "https://mri.example.com/brain"])
    assert done.exit_code == 0, done.output
    assert "BRAINMRI_CORS_ORIGINS" in done.output
    written = {file.relative_to(tmp_path / "site") for file in (tmp_path / "site").rglob("*")}
    assert written == {file.relative_to(SITE) for file in SITE.rglob("*")}
    document = (tmp_path / "site" / "index.html").read_text()
    assert '<meta name="brainmri-api" content="https://mri.example.com/brain/">' in document
    assert 'content="./"' not in document


def test_its_policy_lets_it_talk_to_that_service_alone(tmp_path: Path) -> None:
    write_site(tmp_path / "site", "http://127.0.0.1:3000")
    found = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]+)"', (tmp_path / "site/index.html").read_text()
    )
    assert found is not None
    assert "connect-src &#x27;self&#x27; http://127.0.0.1:3000;" in found[1]
    assert "script-src &#x27;self&#x27;;" in found[1]
    assert "frame-ancestors" not in found[1]


@pytest.mark.parametrize("api", ["mri.example.com", "ftp://host/", "https://", "https://host/?a=1", 'javascript:"'])
def test_an_address_that_is_none_is_refused(tmp_path: Path, api: str) -> None:
    with pytest.raises(InvalidSettings, match="--api is"):
        write_site(tmp_path / "site", api)
    assert not (tmp_path / "site").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(BrainMRIError, match="is not empty"):
        write_site(tmp_path, "https://mri.example.com/")
    assert (tmp_path / "index.html").read_text() == "mine"
