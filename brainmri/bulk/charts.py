"""Bars, histograms, curves and matrices as inline SVG: a page with them needs no script and nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 520, 190
_LEFT, _TOP, _BOTTOM = 44, 12, 34
_CELL = 84


def bars(counts: Mapping[str, int], title: str) -> str:
    """Returns one horizontal bar for each name."""
    most, step = max([*counts.values(), 1]), 28
    height = step * len(counts) + 8
    parts = []
    for row, (name, count) in enumerate(counts.items()):
        y, width = 4 + row * step, 300 * count / most
        parts.append(f'<text x="150" y="{y + 17}" class="name">{escape(name)}</text>')
        parts.append(f'<rect x="158" y="{y + 3}" width="{width:.1f}" height="20" class="bar"/>')
        parts.append(f'<text x="{164 + width:.1f}" y="{y + 17}">{count}</text>')
    return _svg(_WIDTH, height, title, parts)


def histogram(counts: Sequence[int], edges: Sequence[float], title: str) -> str:
    """Returns one column for each bin.

    Args:
        counts: Of the bins.
        edges: One more than there are bins.
        title: What is counted, for those who cannot see it.
    """
    most = max([*counts, 1])
    width, height = (_WIDTH - _LEFT - 12) / len(counts), _HEIGHT - _TOP - _BOTTOM
    ground = _TOP + height
    parts = []
    for number, count in enumerate(counts):
        tall = height * count / most
        span = f"{edges[number]:g} to {edges[number + 1]:g}: {count}"
        parts.append(
            f'<rect x="{_LEFT + number * width + 1:.1f}" y="{ground - tall:.1f}" width="{width - 2:.1f}"'
            f' height="{tall:.1f}" class="bar"><title>{span}</title></rect>'
        )
    for number in range(0, len(edges), max(1, (len(edges) - 1) // 5)):
        parts.append(f'<text x="{_LEFT + number * width:.1f}" y="{ground + 16}" class="tick">{edges[number]:g}</text>')
    parts.append(f'<path d="M{_LEFT} {ground}H{_WIDTH - 12}" class="axis"/>')
    parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 10}" class="name">{most}</text>')
    return _svg(_WIDTH, _HEIGHT, title, parts)


def curve(points: Sequence[tuple[float, float]], title: str, *, top: float = 1.0, diagonal: bool = False) -> str:
    """Returns points joined by lines.

    Args:
        points: Across from 0 to 1, up from 0 to `top`.
        title: What is shown, for those who cannot see it.
        top: The largest value upwards, above 0.
        diagonal: Whether the line is drawn on which both are equal.
    """
    width, height = _WIDTH - _LEFT - 12, _HEIGHT - _TOP - _BOTTOM
    ground = _TOP + height

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x * width:.1f} {ground - min(y / top, 1) * height:.1f}"

    parts = [f'<path d="M{place(0, 0)}L{place(1, top)}" class="axis"/>'] if diagonal else []
    parts.append(f'<path d="M{"L".join(place(x, y) for x, y in points)}" class="line"/>')
    for x, y in points:
        at_x, at_y = place(x, y).split()
        parts.append(f'<circle cx="{at_x}" cy="{at_y}" r="2" class="bar"><title>{x:.3f}: {y:.4f}</title></circle>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<text x="{_LEFT + share * width:.1f}" y="{ground + 16}" class="tick">{share:g}</text>')
    parts.append(f'<path d="M{_LEFT} {ground}H{_WIDTH - 12}" class="axis"/>')
    parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 10}" class="name">{top:.2g}</text>')
    return _svg(_WIDTH, _HEIGHT, title, parts)


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> str:
    """Returns a square of cells, shaded by the share of their row."""
    parts = []
    for row, (name, cells) in enumerate(zip(names, counts, strict=True)):
        y = 28 + row * 40
        parts.append(f'<text x="112" y="{y + 25}" class="name">{escape(name)}</text>')
        parts.append(f'<text x="{120 + row * _CELL + _CELL / 2}" y="18" class="tick">{escape(name)}</text>')
        for column, count in enumerate(cells):
            x, share = 120 + column * _CELL, count / max(sum(cells), 1)
            ink = ' class="light"' if share > 0.5 else ""
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="38" class="bar"'
                f' fill-opacity="{0.06 + 0.94 * share:.3f}"/>'
                f'<text x="{x + _CELL / 2}" y="{y + 24}" text-anchor="middle"{ink}>{count}</text>'
            )
    return _svg(120 + _CELL * len(names), 32 + 40 * len(names), title, parts)


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    label = escape(title, quote=True)
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}" width="{width}">{"".join(parts)}</svg>'
