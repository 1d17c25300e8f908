import re

import pytest

from brainmri.report.charts import Box, Chart, Path, Words, bars, curves, histogram, matrix
from brainmri.report.svg import svg

RISK = curves({"risk": [(0.0, 0.0), (0.5, 0.1), (1.0, 0.2)]}, "Risk", across="kept", up="wrong", top=0.2, diagonal=True)


def texts(chart: Chart) -> list[str]:
    return [shape.text for shape in chart.shapes if isinstance(shape, Words)]


def test_a_curve_begins_below_on_the_left_and_ends_at_its_top_on_the_right() -> None:
    lines = {shape.role: shape.points for shape in RISK.shapes if isinstance(shape, Path)}
    assert lines["line"] == ((64, 188), (284, 101), (504, 14))
    assert '<path d="M64.0 188.0L504.0 14.0" class="axis"/>' in svg(RISK)


def test_axes_have_titles_and_values() -> None:
    assert texts(RISK) == ["0", "0.05", "0.1", "0.15", "0.2", "kept", "wrong", "0", "0.25", "0.5", "0.75", "1"]
    counts = histogram([1, 2, 3], [0, 1, 2, 3], "t", "size")
    assert texts(counts) == ["0", "3", "size", "images", "0", "1", "2", "3"]
    assert texts(matrix(["a", "b"], [[1, 0], [0, 2]], "t"))[:2] == ["most probable class", "true class"]


def test_lines_that_are_compared_are_told_apart_without_colour() -> None:
    chart = curves({"one": [(0, 0), (1, 1)], "two": [(0, 0), (1, 0.5)]}, "t", across="x", up="y")
    assert {"one", "two"} <= set(texts(chart))
    assert {shape.role for shape in chart.shapes if isinstance(shape, Path)} == {"grid", "axis", "line", "second"}


def test_charts_have_a_mark_for_each_count() -> None:
    def boxes(chart: Chart) -> int:
        return sum(isinstance(shape, Box) for shape in chart.shapes)

    assert boxes(bars({"a": 1, "b": 0}, "t")) == 2
    assert boxes(histogram([1, 2, 3], [0, 1, 2, 3], "t", "x")) == 3
    assert boxes(matrix(["a", "b"], [[1, 0], [0, 2]], "t")) == 4


@pytest.mark.parametrize("text", ["<t>", '"t"'])
def test_texts_are_escaped(text: str) -> None:
    drawn = svg(bars({text: 1}, text))
    assert text not in re.sub(r'[a-z-]+="[^"]*"', "", drawn) or text == '"t"'
    assert "<t>" not in drawn
