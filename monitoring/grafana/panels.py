"""Panels of one look: what they show is given as PromQL, everything else is decided here."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SELECTED = 'namespace=~"$namespace", job=~"$job"'
"""The label matchers of what the reader has chosen at the top of the dashboard."""

_GREEN, _RED = "green", "red"


@dataclass(frozen=True)
class Query:
    """One PromQL expression and what its series are called, with `{{label}}` for the value of a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Limit:
    """Where the objective or the alert lies, in the panel's unit.

    Attributes:
        value: The limit.
        below: Whether it is wrong to be below it instead of above.
    """

    value: float
    below: bool = False

    def thresholds(self) -> ThresholdsConfig:
        """Returns the colours on its two sides."""
        low, high = (_RED, _GREEN) if self.below else (_GREEN, _RED)
        steps = [Threshold(value=None, color=low), Threshold(value=self.value, color=high)]
        return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def graph(
    title: str,
    meaning: str,
    unit: str,
    queries: Sequence[Query],
    *,
    span: int = 8,
    limit: Limit | None = None,
    stacked: bool = False,
) -> timeseries.Panel:
    """Returns lines over time.

    Args:
        title: Above it.
        meaning: Shown when the reader points at the title.
        unit: Grafana's name of the unit, such as `s` or `percentunit`.
        queries: What it shows.
        span: Width; the page is 24 wide.
        limit: Drawn as a dashed line.
        stacked: Whether the series add up.
    """
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(8)
        .line_width(1)
        .fill_opacity(40 if stacked else 5)
        .legend(legend.placement(LegendPlacement.BOTTOM).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .targets(_targets(queries))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if limit is not None:
        panel.thresholds(limit.thresholds())
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    return panel


def number(
    title: str, meaning: str, unit: str, expr: str, *, limit: Limit | None = None, decimals: int = 0
) -> stat.Panel:
    """Returns one figure, red on the wrong side of its limit; other arguments as in `graph`.

    Args:
        title: Above it.
        meaning: Shown when the reader points at the title.
        unit: Grafana's name of the unit.
        expr: Gives one series.
        limit: Where the colour changes.
        decimals: Digits after the point, of the percentage where the unit is one.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .unit(unit)
        .decimals(decimals)
        .span(4)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets(_targets([Query(expr)]))
    )
    if limit is None:
        return panel.color_mode(BigValueColorMode.NONE)
    return panel.color_mode(BigValueColorMode.VALUE).thresholds(limit.thresholds())


def distribution(title: str, meaning: str, unit: str, expr: str, *, span: int = 8) -> heatmap.Panel:
    """Returns how a histogram's values are distributed over time; `expr` gives its buckets by `le`."""
    target = _target(Query(expr, "{{le}}"), "A").format(PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .span(span)
        .height(8)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .targets([target])
    )


def rows_of(title: str, meaning: str, expr: str, columns: Sequence[str], *, span: int = 8) -> table.Panel:
    """Returns a table of the labels of the series that exist now; `columns` are the labels to show, in order."""
    return (
        table.Panel()
        .title(title)
        .description(meaning)
        .datasource(SOURCE)
        .span(span)
        .height(8)
        .targets([_target(Query(expr), "A").instant().format(PromQueryFormat.TABLE)])
        .with_transformation(
            DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
        )
    )


def _targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [_target(query, chr(ord("A") + place)) for place, query in enumerate(queries)]


def _target(query: Query, ref_id: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().datasource(SOURCE).expr(query.expr).ref_id(ref_id).range()
    return target.legend_format(query.legend) if query.legend else target
