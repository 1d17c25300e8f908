"""Counts and cumulative times of each model, in the words of the statistics extension."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from brainmri.model.predictor import Prediction


@dataclass
class Duration:
    """How often something happened and how long it took in all, in ns."""

    count: int = 0
    ns: int = 0

    def add(self, elapsed_ns: float) -> None:
        """Counts once more."""
        self.count += 1
        self.ns += round(elapsed_ns)

    def body(self) -> dict[str, int]:
        """Returns the JSON of the protocol."""
        return {"count": self.count, "ns": self.ns}


@dataclass
class ModelStatistics:
    """What happened to one version of one model since this process started.

    Stages are counted once a request; a request of several images counts its slowest one, as they run side by side.
    Requests that cannot even be read, because of bad JSON for instance, are not counted. `compute_input` is decoding,
    `compute_output` stays 0: encoding an answer takes microseconds.
    """

    last_inference_ms: int = 0
    images: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    decode: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)

    def succeeded(self, predictions: Sequence[Prediction], elapsed_s: float) -> None:
        """Counts an answered request of at least one image."""
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.images += len(predictions)
        self.success.add(elapsed_s * 1e9)
        stages = {"queue": self.queue, "decode": self.decode, "inference": self.infer}
        for stage, duration in stages.items():
            duration.add(max(prediction.timings_ms.get(stage, 0.0) for prediction in predictions) * 1e6)

    def failed(self, elapsed_s: float) -> None:
        """Counts a request that got an error."""
        self.fail.add(elapsed_s * 1e9)

    def body(self, name: str, version: str) -> dict[str, Any]:
        """Returns the JSON of the protocol; the fields of gRPC have the same names."""
        return {
            "name": name,
            "version": version,
            "last_inference": self.last_inference_ms,
            "inference_count": self.images,
            # Batches are formed across requests and protocols; seen from one model each request runs once.
            "execution_count": self.success.count,
            "inference_stats": {
                "success": self.success.body(),
                "fail": self.fail.body(),
                "queue": self.queue.body(),
                "compute_input": self.decode.body(),
                "compute_infer": self.infer.body(),
                "compute_output": Duration(self.success.count).body(),
            },
            "batch_stats": [],
        }


class Statistics:
    """The statistics of every model of this process, by name and version."""

    def __init__(self) -> None:
        self._models: defaultdict[tuple[str, str], ModelStatistics] = defaultdict(ModelStatistics)

    def of(self, name: str, version: str) -> ModelStatistics:
        """Returns those of one model, zeros at first."""
        return self._models[name, version]
