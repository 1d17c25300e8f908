"""The locustfile against a service that does what it is told, wrong things above all."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.slo import result_of
from tests.loadtests.locust_runs import ROOT, locust, recorded
from tests.loadtests.stub_service import LABELS, Fault, answer_with, stub_service

IMAGES = 4
SHORT = ("--shape", "constant", "--levels", "20", "--stage-seconds", "4", "--image-count", str(IMAGES))


def test_every_wrong_answer_is_a_failure_and_a_refusal_is_none(tmp_path: Path) -> None:
    faults: list[Fault | None] = [
        None,
        answer_with(429, {"Retry-After": "1"}),
        answer_with(503, {"Retry-After": "1"}),
        answer_with(429),
        answer_with(500),
        answer_with(probabilities=dict.fromkeys(LABELS, 0.3)),
        answer_with(request_id="that of another"),
        answer_with(headers={"X-Request-Id": "that of another"}),
        answer_with(probabilities=dict(zip(LABELS, (0.05, 0.9, 0.03, 0.02), strict=True)), confidence=0.9),
        answer_with(
            probabilities=dict(zip(LABELS, (0.05, 0.9, 0.03, 0.02), strict=True)),
            confidence=0.9,
            label="meningioma",
            verdict="meningioma",
        ),
        lambda body: (200, {}, b"<html>no JSON</html>"),
    ]
    with stub_service(faults, good_first=IMAGES) as service:
        record = recorded(service.url, tmp_path, *SHORT, "UploadUser")
        rounds, rest = divmod(service.posts, len(faults))
    assert rounds >= 2
    assert set(record.faults) == {
        "POST /predict: status 429 without Retry-After",
        "POST /predict: status 500",
        "POST /predict: the probabilities do not sum to 1",
        "POST /predict: the id of another request",
        "POST /predict: the verdict is not the most probable label",
        "POST /predict: another answer than before to the same image",
        "POST /predict: no JSON object",
    }
    tallies = record.tallies.values()
    assert sum(tally.answered for tally in tallies) == rounds + (rest > 0)
    assert sum(tally.refused for tally in tallies) == 2 * rounds + (rest > 1) + (rest > 2)
    assert record.requests() == service.posts


EXCHANGE = """
from types import SimpleNamespace
from loadtests.users import MixedUser

def fire(**event):
    print(repr(event["exception"]))

user = MixedUser.__new__(MixedUser)
user.environment = SimpleNamespace(events=SimpleNamespace(request=SimpleNamespace(fire=fire)))
user._exchange("POST /predict", lambda request_id: None, 1, 0.0)
user._exchange("POST /predict", lambda request_id: {}[request_id], 1, 0.0)
"""


def test_an_error_of_the_generator_itself_is_no_answer() -> None:
    done = subprocess.run([sys.executable, "-c", EXCHANGE], cwd=ROOT, capture_output=True, text=True, check=False)
    right, wrong = done.stdout.splitlines()
    assert right == "None"
    assert wrong == "NotAnswered('an error of the load generator; its log has it')"
    assert "KeyError" in done.stderr


def test_a_run_ends_at_the_limit_of_requests(tmp_path: Path) -> None:
    with stub_service([None]) as service:
        record = recorded(service.url, tmp_path, *SHORT, "--max-requests", "10", "UploadUser")
    assert record.ended_early == "10 requests were sent, as many as --max-requests allows."
    assert 10 <= record.requests() < 40


def test_a_closed_loop_has_as_many_requests_under_way_as_clients(tmp_path: Path) -> None:
    with stub_service([None], good_first=IMAGES) as service:
        record = recorded(
            service.url,
            tmp_path,
            *("--loop", "closed", "--think-seconds", "0.5", "--shape", "constant", "--levels", "2"),
            *("--stage-seconds", "4", "--image-count", str(IMAGES), "UploadUser"),
        )
    assert record.about["loop"] == "closed"
    assert [span.load for span in record.spans] == [2]
    # Two clients that pause for half a second send at most four a second.
    assert 2 <= record.requests() <= 22
    assert record.faults == {}


@pytest.mark.slow
def test_after_a_spike_the_load_is_small_again(tmp_path: Path) -> None:
    spike = ("--shape", "spike", "--levels", "2,60", "--stage-seconds", "6", "--image-count", str(IMAGES))
    with stub_service([None], good_first=IMAGES) as service:
        record = recorded(service.url, tmp_path, *spike, "UploadUser")
    _, peak, after = record.spans
    assert result_of(record, peak).due > 20
    # Two a second are 8 in the four seconds that count.
    assert result_of(record, after, settle_s=2).due <= 25


@pytest.mark.parametrize(
    ("host", "flags", "message"),
    [
        ("http://10.1.2.3:3000", (), "http://10.1.2.3:3000 is not on this machine."),
        ("http://127.0.0.1:9", ("--grpc-host", "10.1.2.3:3001"), "10.1.2.3:3001 is not on this machine."),
        ("http://127.0.0.1:9", ("--levels", "0"), "Levels and seconds must be greater than 0."),
        ("http://127.0.0.1:9", (), "http://127.0.0.1:9 does not serve as it should"),
        ("http://127.0.0.1:9", ("--images", "docs/decisions"), "docs/decisions holds 0 JPEG and PNG files"),
    ],
)
def test_what_cannot_be_run_ends_at_once_and_says_why(
    tmp_path: Path, host: str, flags: tuple[str, ...], message: str
) -> None:
    done = locust(host, tmp_path / "record.json", *SHORT, *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
