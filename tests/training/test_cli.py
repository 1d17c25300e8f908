from pathlib import Path

import pytest
from typer.testing import CliRunner

from brainmri.model import store
from training import cli
from training.release import reproduce as reproduction
from training.release.reproduce import SMOKE_VERSION, Job, Reproduction


def test_a_smoke_run_registers_its_network_in_a_store_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str | None, Path]] = []

    def note(job: Job, *_: object) -> Reproduction:
        seen.append((job.version, store.home()))
        return Reproduction({}, None)

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "users"))
    monkeypatch.setattr(reproduction, "reproduce", note)
    monkeypatch.setattr(cli, "report", lambda figures: None)
    arguments = ["reproduce", "released", "--smoke", "--data", str(tmp_path), "--work", str(tmp_path / "runs")]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert seen == [(SMOKE_VERSION, tmp_path / "runs" / "smoke" / "bentoml")]
