import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.grafana import FILE
from monitoring.grafana.dashboard import ROWS, document
from tests.monitoring.programs import MONITORING, promtool
from tests.monitoring.promql import recorded, series_in, unknown_in

BOARD = json.loads(FILE.read_text())


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yields every expression, and the title of what shows it."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    yield from (("annotation", annotation["expr"]) for annotation in BOARD["annotations"]["list"])


def filled_in(expression: str) -> str:
    """Returns an expression as Grafana sends it."""
    chosen = {"$namespace": ".*", "$job": ".*", "$__rate_interval": "1m"}
    for variable, value in chosen.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def test_the_file_is_what_the_code_writes() -> None:
    assert FILE.read_text() == document(), "Write it again: python -m monitoring.grafana"


def test_every_expression_can_be_parsed(tmp_path: Path) -> None:
    group = [{"record": f"panel:{i}", "expr": filled_in(expr)} for i, (_, expr) in enumerate(expressions())]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": group}]}))
    assert f"SUCCESS: {len(group)} rules found" in promtool("check", "rules", rules)


def test_every_expression_reads_series_that_exist() -> None:
    unknown = {title: unknown_in(filled_in(expr)) for title, expr in expressions()}
    assert {title: names for title, names in unknown.items() if names} == {}


def test_everything_that_is_recorded_for_more_than_an_alert_is_shown() -> None:
    shown = set().union(*(series_in(filled_in(expr)) for _, expr in expressions()))
    only_for_alerts = {
        "namespace_job_instance:brainmri_memory:ratio",
        "namespace_job:brainmri_queue_images:sum",
        "namespace_job:brainmri_images:increase1h",
        "namespace_job:brainmri_classified:increase1d",
    }
    assert recorded() - shown == only_for_alerts


def test_panels_lie_side_by_side_below_their_row() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"] == [title for title, _ in ROWS]
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["title"]
    assert panel["datasource"]["uid"] == "${datasource}"
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def test_grafana_is_told_where_prometheus_and_the_dashboard_are() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    prometheus = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yaml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "brainmri.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    [config_map] = yaml.safe_load((MONITORING / "grafana" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert [MONITORING / "grafana" / name for name in config_map["files"]] == [FILE]
