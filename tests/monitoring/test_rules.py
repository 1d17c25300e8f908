import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from brainmri.errors import STATUS
from brainmri.model.bundle import load_bundle
from brainmri.model.contract import LABELS
from brainmri.observe.metric_specs import REQUEST_SECONDS
from tests.monitoring.programs import MONITORING, RULES, promtool
from tests.monitoring.promql import rules, series_in, unknown_in
from training.release.novelty import KEEPS

ROOT = Path(__file__).parents[2]
UNIT_TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yaml"))
ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = [rule for rule in rules() if "record" in rule]


def by_name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def test_the_rules_and_the_configuration_are_valid() -> None:
    assert promtool("check", "rules", *sorted(RULES.glob("*.yaml"))).count("SUCCESS") == 6
    promtool("check", "config", MONITORING / "prometheus" / "prometheus.yaml")


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_the_unit_tests_of_the_rules_pass(file: Path) -> None:
    promtool("test", "rules", file)


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_the_unit_tests_take_what_is_recorded_before_the_alerts(file: Path) -> None:
    tests = yaml.safe_load(file.read_text())
    read = [yaml.safe_load((file.parent / name).read_text())["groups"] for name in tests["rule_files"]]
    groups = [group["name"] for groups in read for group in groups]
    assert tests["group_eval_order"] == groups
    assert [name for name in groups if ".alerts." in name] == groups[-1:]


@pytest.mark.parametrize("alert", ALERTS, ids=by_name)
def test_an_alert_is_shown_silent_and_firing(alert: dict[str, Any]) -> None:
    fires = [
        bool(check.get("exp_alerts"))
        for file in UNIT_TESTS
        for group in yaml.safe_load(file.read_text())["tests"]
        for check in group.get("alert_rule_test", [])
        if check["alertname"] == alert["alert"]
    ]
    assert set(fires) == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=by_name)
def test_an_alert_says_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["summary"].endswith(".")
    assert "{{" in notes["description"]
    assert notes["runbook_url"] == f"docs/runbook.md#{alert['alert'].lower()}"


@pytest.mark.parametrize("rule", [*ALERTS, *RECORDED], ids=by_name)
def test_a_rule_reads_what_the_service_shows_or_what_is_recorded(rule: dict[str, Any]) -> None:
    assert unknown_in(rule["expr"]) == set()


def test_a_series_that_nobody_makes_is_found() -> None:
    assert series_in('sum by (a) (rate(b_total{c="d"}[5m])) / on (e) group_left () f:g:h offset 10m > 0.5') == {
        "b_total",
        "f:g:h",
    }
    assert unknown_in('rate(brainmri_requests_total{status="5xx", path="/"}[5m]) or brainmri_lost') == {
        "brainmri_lost",
        "brainmri_requests_total{path}",
    }


def test_windows_of_one_objective_differ_in_nothing_else() -> None:
    found: dict[str, dict[str, str]] = {}
    for rule in RECORDED:
        if window := re.fullmatch(r"namespace_job:(brainmri_\w+):ratio_rate(\w+)", rule["record"]):
            expression = rule["expr"].replace(f"[{window[2]}]", "[WINDOW]")
            found.setdefault(window[1], {})[window[2]] = expression
    assert found.keys() == {"brainmri_unanswered", "brainmri_slow"}
    for windows in found.values():
        assert list(windows) == ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
        assert len(set(windows.values())) == 1


def test_the_objective_for_latency_is_the_bound_of_a_bucket() -> None:
    slow = [rule["expr"] for rule in RECORDED if "brainmri_slow" in rule["record"]]
    assert {float(bound) for expr in slow for bound in re.findall(r'le="([^"]+)"', expr)} == {0.5}
    assert 0.5 in REQUEST_SECONDS.buckets


def test_every_429_counts_as_a_refusal_for_want_of_capacity() -> None:
    codes = {error.code for error, status in STATUS.items() if status.http == 429}
    assert "too_many_jobs" in codes
    counted = [
        set(re.split(r"\|", reasons))
        for rule in [*ALERTS, *RECORDED]
        for reasons in re.findall(r'brainmri_refused\w*(?::rate5m)?\{reason=~"([^"]+)"\}', rule["expr"])
    ]
    # Seven windows of the objective, and the alert on refusals.
    assert len(counted) == 8
    for reasons in counted:
        assert {*codes, "queue_full", "deadline"} <= reasons


def expected(name: str) -> dict[str, float]:
    """Returns the shares that the rules expect, by verdict where there is one."""
    rows = [rule for rule in RECORDED if rule["record"] == f"brainmri:expected_{name}:ratio"]
    return {row.get("labels", {}).get("verdict", ""): float(row["expr"][len("vector(") : -1]) for row in rows}


def test_what_is_expected_is_what_the_released_bundle_saw() -> None:
    bundle = load_bundle(ROOT / "models" / "brain_mri_xception")
    measured = json.loads((bundle.folder / "metrics.json").read_text())
    rows = re.findall(r"^\| nickparvar (\w+) \| (\d+) \|$", (bundle.folder / "data_card.md").read_text(), re.MULTILINE)
    classes = {label: int(count) for label, count in rows}
    mix = expected("verdict")
    assert tuple(mix) == LABELS
    assert sum(mix.values()) == pytest.approx(1)
    for label, count in classes.items():
        assert mix[label] == pytest.approx(count / sum(classes.values()), abs=0.02)
    served = bundle.contract.calibration(measured["runtime"])
    assert served.novelty is not None
    assert expected("novel")[""] == pytest.approx(1 - KEEPS)
    assert served.novelty.keeps >= KEEPS
    assert expected("unsure")[""] == pytest.approx(1 - served.coverage, abs=0.02)
