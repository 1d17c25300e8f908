"""Charts as shapes, which a page draws as inline SVG and a PDF as its own paths, without script or picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_WIDTH, _HEIGHT = 520, 240
_LEFT, _TOP, _BOTTOM, _RIGHT = 64, 14, 52, 16
_CELL = 84
_TICKS = (0, 0.25, 0.5, 0.75, 1)

Role = Literal["axis", "grid", "line", "second", "third", "fourth"]
SERIES: tuple[Role, ...] = ("line", "second", "third", "fourth")
"""Roles of lines that are compared with each other; each has a colour and a pattern of dashes."""


@dataclass(frozen=True)
class Path:
    """Points joined by lines."""

    points: tuple[tuple[float, float], ...]
    role: Role


@dataclass(frozen=True)
class Box:
    """A filled rectangle; `note` is what a pointer on it shows."""

    x: float
    y: float
    width: float
    height: float
    strength: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class Dot:
    """A mark at a point; `note` is what a pointer on it shows."""

    x: float
    y: float
    note: str = ""


@dataclass(frozen=True)
class Words:
    """A text; `y` is its base line, `upwards` turns it by a quarter to the left."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    light: bool = False
    upwards: bool = False


Shape = Path | Box | Dot | Words


@dataclass(frozen=True)
class Chart:
    """A chart of shapes, from the left upper corner, in pixels.

    Attributes:
        width: In pixels.
        height: In pixels.
        title: What is shown, for those who cannot see it.
        shapes: In the order of drawing.
    """

    width: float
    height: float
    title: str
    shapes: tuple[Shape, ...]


def bars(counts: Mapping[str, int], title: str) -> Chart:
    """Returns one horizontal bar for each name."""
    most, step = max([*counts.values(), 1]), 28
    shapes: list[Shape] = []
    for row, (name, count) in enumerate(counts.items()):
        y, width = 4 + row * step, 270 * count / most
        shapes.append(Words(190, y + 17, name, "end"))
        shapes.append(Box(198, y + 3, width, 20, note=f"{name}: {count}"))
        shapes.append(Words(204 + width, y + 17, str(count)))
    return Chart(_WIDTH, step * len(counts) + 8, title, tuple(shapes))


def histogram(counts: Sequence[int], edges: Sequence[float], title: str, across: str) -> Chart:
    """Returns one column for each bin.

    Args:
        counts: Of the bins.
        edges: One more than there are bins.
        title: What is counted, for those who cannot see it.
        across: Title of the axis of the bins.
    """
    most = max([*counts, 1])
    width, height = (_WIDTH - _LEFT - _RIGHT) / len(counts), _HEIGHT - _TOP - _BOTTOM
    ground = _TOP + height
    shapes = _axes(across, "images", [(0, "0"), (1, str(most))])
    for number, count in enumerate(counts):
        tall = height * count / most
        note = f"{edges[number]:g} to {edges[number + 1]:g}: {count}"
        shapes.append(Box(_LEFT + number * width + 1, ground - tall, width - 2, tall, note=note))
    for number in range(0, len(edges), max(1, (len(edges) - 1) // 5)):
        shapes.append(Words(_LEFT + number * width, ground + 16, f"{edges[number]:g}", "middle"))
    return Chart(_WIDTH, _HEIGHT, title, tuple(shapes))


def curves(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    title: str,
    *,
    across: str,
    up: str,
    top: float = 1.0,
    diagonal: bool = False,
) -> Chart:
    """Returns lines through points; several have their names beside them.

    Args:
        lines: Name to points, across from 0 to 1, up from 0 to `top`; at most four lines.
        title: What is shown, for those who cannot see it.
        across: Title of the axis to the right.
        up: Title of the axis upwards.
        top: The largest value upwards, above 0.
        diagonal: Whether the line is drawn from the lower left to the upper right corner.
    """
    ground = _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), ground - min(y / top, 1) * (ground - _TOP)

    shapes = _axes(across, up, [(share, f"{share * top:.3g}") for share in _TICKS])
    shapes += [Words(place(share, 0)[0], ground + 16, f"{share:g}", "middle") for share in _TICKS]
    if diagonal:
        shapes.append(Path((place(0, 0), place(1, top)), "axis"))
    for number, (name, points) in enumerate(lines.items()):
        role = SERIES[number]
        shapes.append(Path(tuple(place(x, y) for x, y in points), role))
        if len(lines) > 1:
            y = ground - 16 - 20 * (len(lines) - 1 - number)
            shapes.append(Path(((_WIDTH - 210, y - 4), (_WIDTH - 180, y - 4)), role))
            shapes.append(Words(_WIDTH - 172, y, name))
        else:
            shapes += [Dot(*place(x, y), note=f"{x:.3f}: {y:.4f}") for x, y in points]
    return Chart(_WIDTH, _HEIGHT, title, tuple(shapes))


def matrix(names: Sequence[str], counts: Sequence[Sequence[int]], title: str) -> Chart:
    """Returns a square of cells, shaded by the share of their row: true class by row, most probable one by column."""
    left, top = 150, 46
    shapes: list[Shape] = [
        Words(left + _CELL * len(names) / 2, 14, "most probable class", "middle"),
        Words(14, top + 20 * len(names), "true class", "middle", upwards=True),
    ]
    for row, (name, cells) in enumerate(zip(names, counts, strict=True)):
        y = top + row * 40
        shapes.append(Words(left - 8, y + 25, name, "end"))
        shapes.append(Words(left + row * _CELL + _CELL / 2, top - 8, name, "middle"))
        for column, count in enumerate(cells):
            x, share = left + column * _CELL, count / max(sum(cells), 1)
            note = f"{name} taken for {names[column]}: {count}"
            shapes.append(Box(x, y, _CELL - 2, 38, 0.06 + 0.94 * share, note))
            shapes.append(Words(x + _CELL / 2 - 1, y + 24, str(count), "middle", light=share > 0.5))
    return Chart(left + _CELL * len(names), top + 40 * len(names) + 4, title, tuple(shapes))


def _axes(across: str, up: str, ticks: Sequence[tuple[float, str]]) -> list[Shape]:
    """Returns both axes with their titles, and the values of the one that goes up at shares of its height."""
    ground, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    shapes: list[Shape] = []
    for share, value in ticks:
        y = ground - share * (ground - _TOP)
        shapes.append(Path(((_LEFT, y), (right, y)), "grid"))
        shapes.append(Words(_LEFT - 6, y + 4, value, "end"))
    shapes.append(Path(((_LEFT, _TOP), (_LEFT, ground), (right, ground)), "axis"))
    shapes.append(Words((_LEFT + right) / 2, ground + 38, across, "middle"))
    shapes.append(Words(14, (_TOP + ground) / 2, up, "middle", upwards=True))
    return shapes
