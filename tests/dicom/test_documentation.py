"""The commands of docs/dicom.md, run as they are written there but for the ports."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.dicom.nodes import until
from tests.dicom.programs import environment, free_port, listens, path_of, running
from tests.dicom.samples import slice_of_study

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "dicom.md"


def blocks(language: str, ports: dict[str, str]) -> list[str]:
    """Returns the code of the page's last chapter, with ports that are free here."""
    chapter = PAGE.read_text().partition("## The whole way, with Orthanc and DCMTK")[2]
    found = re.findall(rf"```{language}\n(.*?)```", chapter, flags=re.DOTALL)
    return [re.sub("|".join(ports), lambda match: ports[match[0]], block) for block in found]


def test_the_whole_way_gives_a_report_and_a_capture_in_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Orthanc", "storescu", "echoscu"):
        path_of(name)
    ports = {known: str(free_port()) for known in ("11112", "4242", "8042")}
    (settings,) = blocks("json", ports)
    archive, node, *rest = blocks("sh", ports)
    environ = environment(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orthanc.json").write_text(settings)
    (tmp_path / "slice.dcm").write_bytes(slice_of_study())

    def shell(block: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euo", "pipefail", "-c", block]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

    with (
        running(
            ["bash", "-c", f"exec {archive}"],
            tmp_path / "orthanc.log",
            ready=lambda: listens(int(ports["4242"])) and listens(int(ports["8042"])),
            environ=environ,
        ),
        running(
            ["bash", "-c", f"exec {node}"],
            tmp_path / "listen.log",
            ready=lambda: listens(int(ports["11112"])),
            environ=environ,
        ),
    ):
        send, ask, direct = rest
        sent = shell(send)
        assert sent.returncode == 0, sent.stderr
        until(lambda: shell(ask).stdout.count('"Modality"') == 3, "The results in the archive")
        assert sorted(re.findall(r'"Modality" : "(\w+)"', shell(ask).stdout)) == ["MR", "OT", "SR"]
        assert shell(direct).returncode == 0
