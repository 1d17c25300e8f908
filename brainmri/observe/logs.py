"""The log: one JSON object a line on stderr, from this project, BentoML and uvicorn alike; or text for people.

Nothing about an image goes into it but sizes and times: no pixels, no file names, no probabilities.
"""

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal

from brainmri.bentoml_internals import QUOTING_LOGGER
from brainmri.observe.request_record import current_record
from brainmri.text import printable

_FOREIGN = ("bentoml", "circus", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings")

_logger = logging.getLogger("brainmri")


def configure(log_format: Literal["json", "text"], level: str) -> None:
    """Sends everything that this process logs to stderr in one format; warnings and uncaught exceptions too.

    Args:
        log_format: `json` or `text`.
        level: Least severe message of this project; others log from WARNING, BentoML from INFO.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("brainmri").setLevel(level)
    logging.getLogger(QUOTING_LOGGER).addFilter(_without_traceback)
    # It warns of each odd byte of a form; whoever sent the form gets one sentence.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    # gRPC's core writes lines of its own form to stderr; who looks for a fault in it sets this to ERROR or DEBUG.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, the request's ids, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        line = {
            "time": _utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_ids(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return json.dumps(line, separators=(",", ":"), default=str)


class TextFormatter(logging.Formatter):
    """The same for people: time, level, message, then `name=value`; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the text."""
        pairs = " ".join(
            f"{name}={json.dumps(value, default=str)}" for name, value in {**_ids(), **_fields(record)}.items()
        )
        message = printable(record.getMessage())
        text = f"{_utc(record.created)} {record.levelname} {record.name}: {message} {pairs}".rstrip()
        if record.exc_info:
            lines = "".join(traceback.format_exception(*record.exc_info)).rstrip().split("\n")
            text += "".join("\n" + printable(line) for line in lines)
        return text


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _utc(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e3):03d}Z"


def _ids() -> dict[str, str]:
    request = current_record.get()
    if request is None:
        return {}
    ids = {"request_id": request.request_id}
    return ids if request.trace_id is None else {**ids, "trace_id": request.trace_id}


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _logger.critical("Uncaught exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        _uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
