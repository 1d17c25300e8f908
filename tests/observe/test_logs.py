import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from brainmri.model.predictor import ModelIdentity, Prediction
from brainmri.observe.logs import JsonFormatter, TextFormatter
from brainmri.observe.request_record import RequestRecord

ROOT = Path(__file__).parents[2]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainmri.observe.request_record.process_tracing", lambda: None)


def line(message: str = "hello", fields: dict[str, Any] | None = None, exc_info: Any = None) -> logging.LogRecord:
    record = logging.LogRecord("brainmri.x", logging.WARNING, "x.py", 1, message, (), exc_info)
    record.created = 1767323045.6789
    if fields is not None:
        record.fields = fields
    return record


def answered(total_ms: float, name: str = "glioma") -> Prediction:
    return Prediction(
        label=name,
        confidence=0.875,
        probabilities={name: 0.875, "notumor": 0.125},
        verdict=name,
        novelty=None,
        in_distribution=None,
        model=ModelIdentity("brain_mri_xception", "0.0.1", "openvino-f32"),
        timings_ms={"decode": 1.0, "queue": total_ms - 3, "inference": 2.0, "total": total_ms},
    )


def test_a_line_is_one_json_object() -> None:
    assert json.loads(JsonFormatter().format(line(fields={"images": 2}))) == {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "WARNING",
        "logger": "brainmri.x",
        "message": "hello",
        "images": 2,
    }


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_message_with_line_breaks_is_one_line(formatter: logging.Formatter) -> None:
    text = formatter.format(line("first\nsecond\r\nthird"))
    assert len(text.splitlines()) == 1
    assert "second" in text


def test_the_text_for_people_holds_nothing_that_steers_a_terminal_or_breaks_a_line() -> None:
    try:
        raise ValueError("\x1b[2J caf\u00e9")
    except ValueError:
        record = line("\x1b[31mred\u2028forged\x85too \u202e caf\u00e9", exc_info=sys.exc_info())
    text = TextFormatter().format(record)
    assert "\\x1b[31mred\\u2028forged\\x85too \\u202e caf\u00e9" in text.splitlines()[0]
    assert text.splitlines()[-1] == "ValueError: \\x1b[2J caf\u00e9"


def test_an_exception_is_in_the_line_of_its_message() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = line(exc_info=sys.exc_info())
    parsed = json.loads(JsonFormatter().format(record))
    assert parsed["exception"].startswith("Traceback")
    assert parsed["exception"].endswith("ValueError: why")
    assert TextFormatter().format(record).splitlines()[-1] == "ValueError: why"


def test_the_text_for_people() -> None:
    assert (
        TextFormatter().format(line(fields={"route": "/predict", "images": 2}))
        == '2026-01-02T03:04:05.678Z WARNING brainmri.x: hello route="/predict" images=2'
    )


def test_a_line_within_a_request_has_its_ids() -> None:
    with RequestRecord.opened("http", "r-1", TRACEPARENT):
        inside = json.loads(JsonFormatter().format(line()))
    outside = json.loads(JsonFormatter().format(line()))
    assert (inside["request_id"], inside["trace_id"]) == ("r-1", "0af7651916cd43dd8448eb211c80319c")
    assert not {"request_id", "trace_id"} & outside.keys()


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01", TRACEPARENT.upper()])
def test_a_trace_id_that_is_none_is_left_out(given: str) -> None:
    with RequestRecord.opened("http", "r-1", given) as record:
        assert record.trace_id is None
        assert "trace_id" not in json.loads(JsonFormatter().format(line()))


def test_the_access_line_tells_model_sizes_and_the_slowest_image_and_nothing_about_the_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "brainmri")
    with RequestRecord.opened("grpc", "r-1") as record:
        record.route, record.key_name, record.received_bytes, record.sent_bytes = "S/ModelInfer", "ward-3", 300, 40
        for total in (8.0, 20.0, 10.0):
            record.note(answered(total))
        record.close("OK", failed=False)
    [entry] = caplog.records
    fields = vars(entry)["fields"]
    assert fields.pop("duration_ms") >= 0
    assert (entry.name, entry.getMessage()) == ("brainmri.access", "S/ModelInfer")
    assert fields == {
        "protocol": "grpc",
        "route": "S/ModelInfer",
        "status": "OK",
        "key": "ward-3",
        "model": "brain_mri_xception:0.0.1",
        "images": 3,
        "received_bytes": 300,
        "sent_bytes": 40,
        "stages_ms": {"decode": 1.0, "queue": 17.0, "inference": 2.0, "total": 20.0},
    }
    assert not re.search("glioma|875|125", JsonFormatter().format(entry))


def test_probes_over_grpc_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "brainmri")
    for method in ("grpc.health.v1.Health/Check", "inference.GRPCInferenceService/ModelReady"):
        with RequestRecord.opened("grpc", "r-1") as record:
            record.route = method
            record.close("OK", failed=False)
    assert caplog.records == []


def test_nothing_is_put_together_for_a_line_that_nobody_reads(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "brainmri")
    with RequestRecord.opened("http", "r-1") as record:
        record.timings_ms = SimpleNamespace()  # type: ignore[assignment]
        record.close(200, failed=False)
    assert caplog.records == []


PROGRAM = """
import logging, sys, threading, warnings
handler = logging.StreamHandler(sys.stdout)
for name in ("bentoml", "uvicorn.error"):
    logging.getLogger(name).addHandler(handler)
    logging.getLogger(name).propagate = False
logging.getLogger("bentoml").setLevel("INFO")
from brainmri.observe import logs
logs.configure(sys.argv[1], "INFO")
logging.getLogger("brainmri.http").info("ours %d", 1)
logging.getLogger("brainmri.http").debug("not shown")
logging.getLogger("bentoml.serve").info("theirs")
logging.getLogger("uvicorn.error").warning("server")
logging.getLogger("somebody").info("not shown")
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
try:
    MultipartParser(b"x", {}).write(b"no form")
except MultipartParseError:
    pass
warnings.warn("careful")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("the end")
"""


def run(log_format: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, log_format]
    return subprocess.run(
        command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )


def test_everything_that_a_process_says_is_json_on_stderr() -> None:
    done = run("json")
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert [(line["level"], line["logger"]) for line in lines] == [
        ("INFO", "brainmri.http"),
        ("INFO", "bentoml.serve"),
        ("WARNING", "uvicorn.error"),
        ("WARNING", "py.warnings"),
        ("CRITICAL", "brainmri"),
        ("CRITICAL", "brainmri"),
    ]
    assert "careful" in lines[3]["message"]
    assert lines[4]["exception"].endswith("ZeroDivisionError: division by zero")
    assert lines[5]["exception"].endswith("RuntimeError: the end")
    assert done.stdout == ""
    assert done.returncode == 1


def test_or_it_is_text_for_people() -> None:
    done = run("text")
    assert re.match(r"\S+Z INFO brainmri\.http: ours 1\n\S+Z INFO bentoml\.serve: theirs\n", done.stderr)
    assert done.stderr.endswith("RuntimeError: the end\n")
