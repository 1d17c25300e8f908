"""CI's last line, which a program reads: the sum of two runs in pytest's own form."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "closing_line.py"
FAST = "tests/a.py ..\n===== 3900 passed, 2 skipped, 110 deselected, 1 warning in 400.50s (0:06:40) ======\n"
SLOW = "= 1 failed, 108 passed, 1 skipped, 3902 deselected, 2 errors in 900.00s (0:15:00) =\nmake: *** [test-slow]\n"


@pytest.fixture(scope="module")
def closing_line() -> Callable[[list[str]], str]:
    return cast(Callable[[list[str]], str], runpy.run_path(str(SCRIPT))["closing_line"])


def test_two_runs_are_added_up(closing_line: Callable[[list[str]], str]) -> None:
    assert closing_line([FAST, SLOW]).strip("= ") == (
        "1 failed, 4008 passed, 3 skipped, 1 warning, 2 errors in 1300.50s (0:21:40)"
    )


def test_the_line_has_pytests_form(closing_line: Callable[[list[str]], str]) -> None:
    line = closing_line(["======= 2 passed in 0.51s =======\n"])
    assert (line.strip("="), len(line), line[0], line[-1]) == (" 2 passed in 0.51s ", 80, "=", "=")


def test_a_run_that_was_cut_off_is_an_error(closing_line: Callable[[list[str]], str]) -> None:
    assert closing_line([FAST, "tests/a.py ..\nKilled\n"]).strip("= ") == (
        "3900 passed, 2 skipped, 1 warning, 1 error in 400.50s (0:06:40)"
    )


def test_what_a_test_prints_is_not_taken_for_the_closing_line(closing_line: Callable[[list[str]], str]) -> None:
    printed = "==== 7 failed in 1.00s ====\n" + FAST
    assert "failed" not in closing_line([printed])
