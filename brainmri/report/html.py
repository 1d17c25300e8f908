"""Reports as one HTML file: no script, nothing from elsewhere, and readable on paper."""

import base64
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from brainmri.errors import BrainMRIError
from brainmri.report.charts import Chart
from brainmri.report.document import Report
from brainmri.report.quality import quality_charts, quality_tables
from brainmri.report.svg import svg
from brainmri.report.words import exact, in_words, name_of


def html(report: Report) -> str:
    """Returns a report as an HTML document."""
    quality = report.quality
    return render(
        "images.html",
        title=report.title,
        notice=report.notice,
        report=report,
        labels=report.labels,
        charts=[] if quality is None else quality_charts(quality),
        tables=[] if quality is None else quality_tables(quality),
    )


def render(template: str, **values: Any) -> str:
    """Returns a template of this folder as text; whatever is not markup of ours is escaped."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("brainmri.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(svg=_svg, png=_data_url, exact=exact, name=name_of, words=in_words)
    environment.tests["error"] = lambda answer: isinstance(answer, BrainMRIError)
    return environment


def _svg(chart: Chart) -> Markup:
    # Every text in it is escaped.
    return Markup(svg(chart))  # noqa: S704


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
