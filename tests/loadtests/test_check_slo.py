import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from loadtests import check_slo
from loadtests.record import Record
from tests.loadtests.recorded import record_of

STEPS = [(10, 10, [40]), (20, 20, [45]), (40, 38, [80, 200]), (80, 40, [900, 2000])]


@pytest.fixture
def steps() -> Record:
    return record_of(*STEPS)


def check(record: Record, folder: Path, *flags: str) -> int:
    record.write(folder / "record.json")
    return check_slo.main([str(folder / "record.json"), *flags])


def test_it_passes_and_tells_the_figures(steps: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(steps, tmp_path, "--up-to", "40", "--settle", "0") == 0
    text = capsys.readouterr().out
    assert "PASS: all 14 objectives met." in text
    assert "Knee at 40 requests a second: 38.0 answers a second, 95 % within 20" in text
    assert re.search(r"^80 +80 +800 +40\.0 ", text, re.MULTILINE)


def test_it_fails_when_one_objective_is_missed(
    steps: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(steps, tmp_path, "--settle", "0") == 1
    text = capsys.readouterr().out
    assert "FAIL: 1 of 16 objectives missed." in text
    assert re.search(r"MISSED +80 +at least 95 % within 500 ms +0\.00 %", text)


@pytest.mark.parametrize(
    "flags", [["--answered", "100.1"], ["--within-ms", "30"], ["--refused", "-1"], ["--within", "100.1"]]
)
def test_every_objective_can_be_changed(steps: Record, tmp_path: Path, flags: list[str]) -> None:
    assert check(steps, tmp_path, "--up-to", "40", "--settle", "0", *flags) == 1


def test_what_cannot_be_judged_is_neither_pass_nor_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_slo.main([str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_page_needs_nothing_else_and_shows_faults_as_text(steps: Record, tmp_path: Path) -> None:
    steps.count_failure("POST /predict", 1003, "<script>alert(1)</script>")
    check(steps, tmp_path, "--output", str(tmp_path / "out"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert not re.search(r'(src|href)="https?:', page)
    assert "Research use only" in page


def test_the_picture_marks_the_knee(steps: Record, tmp_path: Path) -> None:
    check(steps, tmp_path, "--settle", "0")
    assert "knee: 40" in (tmp_path / "load.svg").read_text()
    assert ET.parse(tmp_path / "load.svg").getroot().tag.endswith("svg")  # noqa: S314 -- written just now
    with Image.open(tmp_path / "load.png") as image:
        assert image.size == (960, 720)


def test_one_load_has_a_picture_over_time_only(tmp_path: Path) -> None:
    assert check(record_of((20, 20, [40])), tmp_path) == 0
    assert (tmp_path / "time.svg").exists()
    assert not (tmp_path / "load.svg").exists()


def test_the_same_record_makes_the_same_picture(steps: Record, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        check(steps, tmp_path / folder)
    assert (tmp_path / "a" / "load.svg").read_text() == (tmp_path / "b" / "load.svg").read_text()
