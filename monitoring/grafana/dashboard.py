"""The dashboard as a whole."""

import json

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, VariableRefresh, VariableSort

from monitoring.grafana import rows
from monitoring.grafana.panels import SOURCE

ROWS = (
    ("Overview", rows.overview),
    ("Objectives", rows.objectives),
    ("Golden signals", rows.golden_signals),
    ("Batching", rows.batching),
    ("Model behaviour", rows.model_behaviour),
    ("Drift", rows.drift),
)


def dashboard() -> Dashboard:
    """Returns the dashboard, row after row."""
    board = (
        Dashboard("brainmri")
        .uid("brainmri")
        .description("Brain-MRI classification service. Research use only, never a diagnosis.")
        .tags(["brainmri"])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_choice("namespace", "label_values(brainmri_ready, namespace)"))
        .with_variable(_choice("job", 'label_values(brainmri_ready{namespace=~"$namespace"}, job)'))
        .annotation(
            AnnotationQuery()
            .name("Firing alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color("red")
            .expr('ALERTS{alertname=~"BrainMRI.*", alertstate="firing"}')
        )
    )
    for title, panels in ROWS:
        board.with_row(Row(title))
        for panel in panels():
            board.with_panel(panel)
    return board


def document() -> str:
    """Returns the JSON that Grafana reads, with a final newline."""
    board = dashboard().build()
    # The SDK numbers nothing; without numbers links to single panels would change with every load.
    for number, panel in enumerate(board.panels or [], start=1):
        panel.id_val = number
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _choice(label: str, query: str) -> QueryVariable:
    # Without Kubernetes there is no label `namespace`: "all" has to fit what is empty too.
    return (
        QueryVariable(label)
        .label(label.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )
