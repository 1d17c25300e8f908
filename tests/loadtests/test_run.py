"""A whole load test against the real service, started by the test's own command."""

import json
import os
from pathlib import Path

import pytest

from loadtests import check_slo
from loadtests.record import read_record
from tests.loadtests.locust_runs import run_module
from tests.loadtests.stub_service import Fault, answer_with, stub_service
from tests.tiny import write_tiny_bundle

KINDS = {
    "POST /predict",
    "POST /predict_batch",
    "POST /v2 infer tensor",
    "gRPC ModelInfer image",
    "gRPC ModelInfer tensor",
}


def test_a_smoke_test_starts_the_service_sends_every_kind_and_judges(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    output = tmp_path / "out"
    done = run_module(
        *("loadtests.run", "smoke", "--output", str(output), "--levels", "15", "--stage-seconds", "8"),
        # A machine of CI is not a judge of speed.
        *("--check", "--within-ms 30000", "--image-side", "128", "--image-count", "4"),
        **{**os.environ, "BRAINMRI_BUNDLES": str(tmp_path / "models"), "BRAINMRI_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS: all 5 objectives met." in done.stdout

    record = read_record(output / "record.json")
    assert {kind for _, kind in record.tallies} == set(record.kinds) == KINDS
    assert record.about["model"].startswith("brain_mri_xception:0.0.1 openvino")
    assert (output / "report.html").read_text().startswith("<!doctype html>")
    # What Locust counted itself is what was recorded.
    counted = json.loads((output / "locust.json").read_text())
    assert sum(entry["num_requests"] for entry in counted) == record.requests() > 60
    assert sum(entry["num_failures"] for entry in counted) == 0
    # The service went away in good order.
    log = (output / "server.log").read_text()
    assert "Traceback" not in log
    assert "cleanup finalized" in log

    # The same run misses an objective that nothing can meet.
    assert check_slo.main([str(output / "record.json"), "--within-ms", "0.1"]) == 1


def test_the_objectives_decide_and_not_a_single_failure(tmp_path: Path) -> None:
    faults: list[Fault | None] = [*59 * [None], answer_with(500), *1000 * [None]]
    with stub_service(faults, good_first=2) as service:
        done = run_module(
            *("loadtests.run", "smoke", "--host", service.url, "--output", str(tmp_path), "--print-record"),
            *("--levels", "20", "--stage-seconds", "6", "--check", "--answered 90 --within-ms 30000"),
            *("--image-side", "128", "--image-count", "2", "UploadUser"),
        )
    # It was seen, by Locust too, and is within the objective.
    assert "1 x POST /predict: status 500" in done.stdout
    counted = json.loads((tmp_path / "locust.json").read_text())
    assert sum(entry["num_failures"] for entry in counted) == 1
    assert "PASS: all 5 objectives met." in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr

    # Where only the log can be fetched, the record is in it, and is judged as the file is.
    (line,) = (line for line in done.stdout.splitlines() if line.startswith('{"schema"'))
    fetched = tmp_path / "fetched" / "record.json"
    fetched.parent.mkdir()
    fetched.write_text(line)
    assert read_record(fetched) == read_record(tmp_path / "record.json")
    assert check_slo.main([str(fetched), "--settle", "0", "--answered", "90", "--within-ms", "30000"]) == 0
    assert check_slo.main([str(fetched), "--settle", "0", "--answered", "100", "--within-ms", "30000"]) == 1


def test_a_profile_without_a_service_cannot_pass(tmp_path: Path) -> None:
    done = run_module("loadtests.run", "smoke", "--host", "http://127.0.0.1:9", "--output", str(tmp_path))
    assert done.returncode != 0
    assert "does not serve as it should" in done.stderr


@pytest.mark.parametrize("profile", ["spike", "steps"])
def test_bad_levels_end_at_once(profile: str) -> None:
    done = run_module("loadtests.run", profile, "--levels", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert "numbers separated by commas" in done.stderr
