"""Reads as much of an answer as it takes to tell whether it is the right one."""

import re
from collections.abc import Callable, Mapping

import numpy as np
from tritonclient.grpc import service_pb2

from benchmarks.traffic import Reader
from brainmri.model.contract import LABELS

_VERDICTS = re.compile(rb'"(?:verdict|code)": *"([^"]*)"')

_LABEL = re.compile(rf'"({"|".join(LABELS)})"(?! *:)'.encode())


def verdicts(body: bytes) -> str:
    """Returns the verdict, or the code of the error, of each image in a JSON answer, separated by commas."""
    return ",".join(name.decode() for name in _VERDICTS.findall(body))


def json_label(body: bytes) -> str:
    """Returns the first label that stands in a JSON answer as a value."""
    found = _LABEL.search(body)
    return found[1].decode() if found else ""


def rest_label(body: bytes) -> str:
    """Returns the most probable labels of a V2 answer's binary part: float32 `[B, 4]`."""
    return _labels(body)


def grpc_label(body: bytes) -> str:
    """Returns the most probable labels of a serialized `ModelInferResponse` with one output."""
    outputs = service_pb2.ModelInferResponse.FromString(body).raw_output_contents
    return _labels(outputs[0]) if outputs else ""


def _labels(probabilities: bytes) -> str:
    rows = np.frombuffer(probabilities, "<f4").reshape(-1, len(LABELS))
    return ",".join(LABELS[best] for best in rows.argmax(axis=1))


READERS: Mapping[Reader, Callable[[bytes], str]] = {
    "verdict": verdicts,
    "label": json_label,
    "rest_probabilities": rest_label,
    "grpc_probabilities": grpc_label,
}
"""How each kind of answer is read."""
