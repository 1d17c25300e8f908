"""Charts as paths and texts of a PDF page."""

from typing import Any

from reportlab.lib import colors
from reportlab.platypus import Flowable

from brainmri.report.charts import Box, Chart, Dot, Path, Role, Shape, Words

_SCALE = 0.85
_FONT = 10
_INK, _PAPER, _BAR = colors.HexColor("#16202e"), colors.white, colors.HexColor("#2a6f97")
_LINES: dict[Role, tuple[str, float, tuple[int, ...]]] = {
    "axis": ("#4c5a6d", 1, ()),
    "grid": ("#e6ebf2", 1, ()),
    "line": ("#2a6f97", 2, ()),
    "second": ("#b3541e", 2, (8, 3)),
    "third": ("#5b2a97", 2, (3, 3)),
    "fourth": ("#1d7a4c", 2, (10, 3, 2, 3)),
}
"""Colour, width and dashes, as in the style sheet of the HTML."""


class PdfChart(Flowable):  # type: ignore[misc]
    """A chart on a page.

    Args:
        chart: What is drawn.
    """

    def __init__(self, chart: Chart) -> None:
        super().__init__()
        self._chart = chart
        self.width, self.height = chart.width * _SCALE, chart.height * _SCALE

    def wrap(self, *_: float) -> tuple[float, float]:
        """Tells ReportLab its size."""
        return self.width, self.height

    def draw(self) -> None:
        """Draws it."""
        # A page's origin is below, a chart's above.
        self.canv.transform(_SCALE, 0, 0, -_SCALE, 0, self.height)
        for shape in self._chart.shapes:
            self.canv.saveState()
            _draw(self.canv, shape)
            self.canv.restoreState()


def _draw(canvas: Any, shape: Shape) -> None:
    match shape:
        case Path(points, role):
            colour, width, dashes = _LINES[role]
            canvas.setStrokeColor(colors.HexColor(colour))
            canvas.setLineWidth(width)
            canvas.setDash(*([dashes] if dashes else []))
            path = canvas.beginPath()
            path.moveTo(*points[0])
            for point in points[1:]:
                path.lineTo(*point)
            canvas.drawPath(path)
        case Box(x, y, width, height, strength):
            canvas.setFillColor(_BAR, alpha=strength)
            canvas.rect(x, y, width, height, stroke=0, fill=1)
        case Dot(x, y):
            canvas.setFillColor(_BAR)
            canvas.circle(x, y, 2, stroke=0, fill=1)
        case Words():
            _write(canvas, shape)


def _write(canvas: Any, words: Words) -> None:
    canvas.translate(words.x, words.y)
    canvas.scale(1, -1)
    if words.upwards:
        canvas.rotate(90)
    canvas.setFont("Helvetica", _FONT)
    canvas.setFillColor(_PAPER if words.light else _INK)
    write = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
    write[words.anchor](0, 0, words.text)
