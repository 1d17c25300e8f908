"""Reports as PDF, by ReportLab: text that can be searched, tables that go on over pages with their heads."""

import io
from collections.abc import Sequence
from html import escape
from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer
from reportlab.platypus import Table as Grid

from brainmri.errors import BrainMRIError
from brainmri.model.predictor import Prediction
from brainmri.report.document import Entry, Report
from brainmri.report.pdf_chart import PdfChart
from brainmri.report.quality import Table, quality_charts, quality_tables
from brainmri.report.words import MOST_COLUMNS, exact, in_words, likeliest, name_of

_MARGIN = 18 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_THUMBNAIL = 15 * mm
_MOST_NAME = 400
"""Characters of a file's name; a cell that is higher than a page cannot be laid out."""
_LINE = colors.HexColor("#c9d1dc")
_SOFT = colors.HexColor("#4c5a6d")
_BAR = colors.HexColor("#2a6f97")

_SHEET = getSampleStyleSheet()
_TEXT = ParagraphStyle("text", _SHEET["BodyText"], fontSize=9.5, leading=12)
_QUIET = ParagraphStyle("quiet", _TEXT, textColor=_SOFT)
_CELL = ParagraphStyle("cell", _TEXT, fontSize=8, leading=9.5, splitLongWords=1)
_HEADING = ParagraphStyle("heading", _SHEET["Heading2"], keepWithNext=1)
_HEAD = ParagraphStyle("head", _CELL, fontName="Helvetica-Bold")
_NOTICE = ParagraphStyle(
    "notice", _TEXT, borderWidth=1, borderColor=colors.HexColor("#b98500"), backColor=colors.HexColor("#fff4d9"),
    borderPadding=5, spaceBefore=10, spaceAfter=12,
)  # fmt: skip
_GRID: list[Any] = [
    ("LINEBELOW", (0, 0), (-1, -1), 0.5, _LINE),
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
]


def pdf(report: Report) -> bytes:
    """Returns a report as a PDF document on A4; every page carries the notice and its number.

    The fonts that every reader has hold the letters of Western Europe; others in names of files are written as their
    Unicode numbers.
    """
    file = io.BytesIO()
    document = SimpleDocTemplate(
        file,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=report.title,
        author="brainmri",
        subject=_written(report.notice),
    )
    parts = [_paragraph(report.title, _SHEET["Heading1"]), _paragraph(report.notice, _NOTICE)]
    if len(report.entries) == 1:
        parts += _alone(report.entries[0])
    else:
        parts += [*_overview(report), *_images("Images", report.entries, report.labels, report.labelled)]
    parts += [_heading("How it was made"), _grid([_row(pair) for pair in report.facts], (35 * mm, _WIDTH - 35 * mm))]

    def foot(canvas: Any, page: Any) -> None:
        canvas.setFont("Helvetica", 7.5)
        canvas.setFillColor(_SOFT)
        canvas.drawString(_MARGIN, 10 * mm, _written(report.notice))
        canvas.drawRightString(A4[0] - _MARGIN, 10 * mm, f"page {page.page}")

    document.build(parts, onFirstPage=foot, onLaterPages=foot)
    return file.getvalue()


def _alone(entry: Entry) -> list[Flowable]:
    parts: list[Flowable] = [_paragraph(_short(entry.name), _QUIET)]
    if isinstance(entry.answer, BrainMRIError):
        return [*parts, _heading("No answer"), _paragraph(entry.answer.message), *_pictures(entry)]
    words = in_words(entry.answer)
    parts += [_heading(words.sentence), _paragraph(words.more)]
    if entry.truth is not None:
        parts.append(_paragraph(f"Its folder names the class {name_of(entry.truth)}."))
    shares = entry.answer.probabilities
    rows = [[_cell(name_of(label)), _Bar(shares[label]), _cell(exact(shares[label]))] for label in shares]
    parts += [Spacer(1, 6), _grid(rows, (35 * mm, _WIDTH - 55 * mm, 20 * mm))]
    if entry.answer.novelty is not None:
        parts.append(_paragraph(f"Distance from the training slices: {entry.answer.novelty:.2f}.", _QUIET))
    return [*parts, *_pictures(entry)]


def _pictures(entry: Entry) -> list[Flowable]:
    shown = [
        (entry.picture, "The image, as the model reads it."),
        (entry.heat, f"Where the network looked for {entry.explained}. It does not outline a tumour."),
    ]
    cells = [[_image(png, 80 * mm), _paragraph(caption, _QUIET)] for png, caption in shown if png]
    return [Spacer(1, 8), Grid([cells], hAlign="LEFT", style=[("VALIGN", (0, 0), (-1, -1), "TOP")])] if cells else []


def _overview(report: Report) -> list[Flowable]:
    totals = [(verdict, str(count)) for verdict, count in report.totals]
    parts = [_heading("Totals"), _table(Table("Images by verdict", ("Verdict", "Images"), totals))]
    if not report.labelled:
        return parts
    parts.append(_heading("Against the names of the folders"))
    if report.quality is None:
        missing = "No answered image lies in a folder that is named after a class, so nothing is compared."
        return [*parts, _paragraph(missing)]
    parts += [_table(table) for table in quality_tables(report.quality)]
    for figure in quality_charts(report.quality):
        parts.append(KeepTogether([PdfChart(figure.chart), _paragraph(figure.caption, _QUIET), Spacer(1, 10)]))
    mistaken = [entry for entry in report.entries if entry.mistaken]
    if mistaken:
        return [*parts, *_images("Mistakes", mistaken, report.labels, labelled=True)]
    return [*parts, _heading("Mistakes"), _paragraph("No image got another class than its own.")]


def _images(heading: str, entries: Sequence[Entry], labels: Sequence[str], labelled: bool) -> list[Flowable]:
    mapped = any(entry.heat for entry in entries)
    head = ["Image", *(["Heat map"] if mapped else []), "File", "Verdict", *(["True class"] if labelled else [])]
    columns = _columns(labels)
    head += columns
    rows, style = [[_paragraph(name, _HEAD) for name in head]], [*_GRID]
    for number, entry in enumerate(entries, start=1):
        pictures = [entry.picture, *([entry.heat] if mapped else [])]
        row: list[Any] = [_image(png, _THUMBNAIL) if png else "" for png in pictures]
        row.append(_cell(_short(entry.name)))
        if isinstance(entry.answer, BrainMRIError):
            style.append(("SPAN", (len(row), number), (-1, number)))
            row += [_cell(f"{entry.verdict}: {entry.answer.message}"), *[""] * (len(head) - len(row) - 1)]
        else:
            truth = [_cell(name_of(entry.truth) if entry.truth else "not known")] if labelled else []
            row += [_cell(entry.verdict), *truth, *_shares(entry.answer)]
        rows.append(row)
    fixed = (
        [18 * mm] * len(pictures)
        + [0.0]
        + [19 * mm] * (1 + labelled)
        + ([17 * mm] * len(columns) if len(columns) > 1 else [50 * mm])
    )
    fixed[len(pictures)] = _WIDTH - sum(fixed)
    return [_heading(heading), Grid(rows, fixed, style=style, repeatRows=1, hAlign="LEFT")]


def _columns(labels: Sequence[str]) -> list[str]:
    """Returns the heads of the columns that tell probabilities."""
    return [name_of(label) for label in labels] if len(labels) <= MOST_COLUMNS else ["Likeliest"]


def _shares(answer: Prediction) -> list[Flowable]:
    """Returns the cells below `_columns`."""
    if len(answer.probabilities) > MOST_COLUMNS:
        return [_cell(likeliest(answer))]
    return [_cell(exact(share)) for share in answer.probabilities.values()]


def _table(table: Table) -> Flowable:
    rows = [[_paragraph(name, _HEAD) for name in table.head], *map(_row, table.rows)]
    first = min(70 * mm, _WIDTH / len(table.head) * 1.6)
    widths = [first, *[(_WIDTH - first) / (len(table.head) - 1)] * (len(table.head) - 1)]
    return _grid(rows, widths, heads=1)


def _row(cells: Sequence[str]) -> list[Flowable]:
    return [_cell(cell) for cell in cells]


def _grid(rows: Sequence[Sequence[Any]], widths: Sequence[float], heads: int = 0) -> Flowable:
    return Grid(rows, widths, style=_GRID, repeatRows=heads, hAlign="LEFT", spaceAfter=8)


def _image(png: bytes, side: float) -> Flowable:
    width, height = ImageReader(io.BytesIO(png)).getSize()
    scale = side / max(width, height)
    return Image(io.BytesIO(png), width * scale, height * scale, hAlign="LEFT")


def _heading(text: str) -> Flowable:
    return _paragraph(text, _HEADING)


def _cell(text: str) -> Flowable:
    return _paragraph(text, _CELL)


def _paragraph(text: str, style: ParagraphStyle = _TEXT) -> Flowable:
    return Paragraph(escape(_written(text)), style)


def _short(name: str) -> str:
    """Returns a name without its middle if it is very long; its end tells files of one folder apart."""
    written = _written(name)
    return written if len(written) <= _MOST_NAME else f"{written[: _MOST_NAME // 2]} ... {written[-_MOST_NAME // 2 :]}"


def _written(text: str) -> str:
    """Returns a text in the letters that the fonts have."""
    return text.encode("cp1252", "backslashreplace").decode("cp1252")


class _Bar(Flowable):  # type: ignore[misc]
    """A share as a bar as wide as its cell."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self._share = share

    def wrap(self, width: float, _: float) -> tuple[float, float]:
        """Tells ReportLab its size."""
        self.width, self.height = width, 8
        return self.width, self.height

    def draw(self) -> None:
        """Draws it."""
        self.canv.setStrokeColor(_LINE)
        self.canv.rect(0, 0, self.width, self.height)
        self.canv.setFillColor(_BAR)
        self.canv.rect(0, 0, self.width * self._share, self.height, stroke=0, fill=1)
