from pathlib import Path

import pytest

from tests.bulk.kills import Bench, kill_and_resume

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_a_run_that_is_killed_five_times_ends_as_one_that_is_not(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.prepare()
    assert kill_and_resume(bench, times=5, seed=7) >= 1
