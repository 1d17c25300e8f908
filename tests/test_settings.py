from pathlib import Path

import pytest

from brainmri.errors import InvalidSettings
from brainmri.settings import Settings, available_cpus, load_settings
from docs.scripts.configuration import document


def test_defaults_listen_on_loopback_only() -> None:
    settings = load_settings()
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 3000)
    assert settings.models == ("brain_mri_xception:latest",)
    assert settings.max_image_bytes == 16 * 2**20
    assert settings.max_image_pixels == 25_000_000


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_HTTP_PORT", "8000")
    monkeypatch.setenv("BRAINMRI_THREADS", "7")
    assert load_settings().http_port == 8000
    assert load_settings().inference_threads() == 7


def test_a_bad_variable_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_RUNTIME", "abacus")
    with pytest.raises(InvalidSettings, match="BRAINMRI_RUNTIME=abacus: Input should be 'auto'"):
        load_settings()


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [("BRAINMRI_LANES", "streams", 3), ("BRAINMRI_BATCH_WAIT_MS", "max_queue_delay_ms", 2.5)],
)
def test_an_old_name_is_taken_with_one_warning(
    old: str, new: str, value: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Restores what the renaming writes.
    monkeypatch.setenv(f"BRAINMRI_{new.upper()}", "1")
    monkeypatch.delenv(f"BRAINMRI_{new.upper()}")
    monkeypatch.setenv(old, str(value))
    assert getattr(load_settings(), new) == value
    # Workers inherit the environment, and say nothing more.
    assert getattr(load_settings(), new) == value
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{old} is called BRAINMRI_{new.upper()} now.")


def test_a_new_name_wins_over_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_LANES", "3")
    monkeypatch.setenv("BRAINMRI_STREAMS", "2")
    assert load_settings().streams == 2


@pytest.mark.parametrize("settings", [{"delay": "20"}, {"grace": "1"}, {"delay": "5", "grace": "4"}])
def test_a_delay_that_leaves_no_time_to_end_is_refused(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in settings.items():
        monkeypatch.setenv(f"BRAINMRI_SHUTDOWN_{name.upper()}_S", seconds)
    with pytest.raises(InvalidSettings, match=r"_DELAY_S=\d+.*must be less than BRAINMRI_SHUTDOWN_GRACE_S=\d+"):
        load_settings()


@pytest.mark.parametrize(("quota", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64)])
def test_threads_follow_the_cpu_quota_of_the_container(
    quota: str, cpus: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cpus(tmp_path) == cpus


def test_threads_follow_the_older_quota_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cpus(tmp_path) == 64


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    shown = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text()
    assert shown == document(), "Write it again: python -m docs.scripts.configuration > docs/configuration.md"
    rows = {line.split("`")[1] for line in shown.splitlines() if line.startswith("| `BRAINMRI_")}
    assert rows == {f"BRAINMRI_{name.upper()}" for name in Settings.model_fields} - {"BRAINMRI_ASKED_MODELS"}


@pytest.mark.parametrize(
    ("url", "folder", "why"),
    [
        ("mysql://me:secret@host/db", "/jobs", "begin with postgresql://"),
        ("postgresql://me:secret@host/db", "", "JOBS_DIR"),
    ],
)
def test_a_database_that_cannot_be_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, folder: str, why: str
) -> None:
    monkeypatch.setenv("BRAINMRI_JOBS_DATABASE", url)
    if folder:
        monkeypatch.setenv("BRAINMRI_JOBS_DIR", folder)
    with pytest.raises(InvalidSettings, match=why) as refusal:
        load_settings()
    assert "secret" not in refusal.value.message
