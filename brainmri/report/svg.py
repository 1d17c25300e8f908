"""Charts as inline SVG; its colours are those of the page's style sheet."""

from html import escape

from brainmri.report.charts import Box, Chart, Dot, Path, Shape, Words


def svg(chart: Chart) -> str:
    """Returns a chart as an `svg` element."""
    label = escape(chart.title, quote=True)
    shapes = "".join(map(_element, chart.shapes))
    size = f'viewBox="0 0 {chart.width:g} {chart.height:g}" width="{chart.width:g}"'
    return f'<svg role="img" aria-label="{label}" {size}>{shapes}</svg>'


def _element(shape: Shape) -> str:
    match shape:
        case Path(points, role):
            return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="{role}"/>'
        case Box(x, y, width, height, strength, note):
            box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="bar"'
            return f'{box} fill-opacity="{strength:.3f}"><title>{escape(note)}</title></rect>'
        case Dot(x, y, note):
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" class="bar"><title>{escape(note)}</title></circle>'
        case Words(x, y, text, anchor, light, upwards):
            turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if upwards else ""
            ink = ' class="light"' if light else ""
            return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{ink}{turned}>{escape(text)}</text>'
