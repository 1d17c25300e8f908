"""A real Prometheus with the shipped rules, quick enough for a test."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.servers import END_S, free_port
from tests.monitoring.programs import MONITORING, RULES, program

SCRAPE, EVALUATION = "2s", "1s"
WAIT_S = 120


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    client: httpx.Client

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Returns the series of an instant query."""
        answer = self.client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        return list(answer.json()["data"]["result"])

    def value(self, expression: str) -> float | None:
        """Returns the one value of an expression, None when it has none."""
        series = self.query(expression)
        assert len(series) <= 1, series
        return float(series[0]["value"][1]) if series else None

    def alerts(self) -> dict[str, str]:
        """Returns the state, pending or firing, of each alert whose expression holds."""
        return {row["metric"]["alertname"]: row["metric"]["alertstate"] for row in self.query("ALERTS")}

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Waits until something holds."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.2)
        pytest.fail(f"It never came to this: {what}.\nAlerts: {self.alerts()}")


@contextmanager
def watching(folder: Path, target: str, patience: Mapping[str, str]) -> Iterator[Prometheus]:
    """Runs Prometheus with the shipped configuration and rules; only times differ.

    Args:
        folder: For its configuration, its data and its log.
        target: Host and port of the service.
        patience: Alerts whose `for` is shortened, and to what. Their expressions, windows and thresholds stay.
    """
    _write_configuration(folder, target)
    _write_rules(folder / "rules", patience)
    address = f"127.0.0.1:{free_port()}"
    command = [program("prometheus"), f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
            _wait_until_ready(client, process, folder / "prometheus.log")
            yield Prometheus(client)
    finally:
        process.terminate()
        process.wait(timeout=END_S)


def _write_configuration(folder: Path, target: str) -> None:
    shipped = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yaml").read_text())
    shipped["global"] = {"scrape_interval": SCRAPE, "evaluation_interval": EVALUATION}
    [job] = shipped["scrape_configs"]
    job["static_configs"] = [{"targets": [target]}]
    (folder / "prometheus.yaml").write_text(json.dumps(shipped))


def _write_rules(folder: Path, patience: Mapping[str, str]) -> None:
    shutil.copytree(RULES, folder)
    left = dict(patience)
    for file in folder.glob("*.yaml"):
        content = yaml.safe_load(file.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                if rule.get("alert") in left:
                    rule["for"] = left.pop(rule["alert"])
        file.write_text(json.dumps(content))
    assert not left, f"no such alerts: {sorted(left)}"


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get("/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"Prometheus did not become ready.\n{log.read_text()}")
