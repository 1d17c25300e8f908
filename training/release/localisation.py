"""Whether heat maps lie on the tumours: figures of maps against the boxes that radiologists drew."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.imaging import SIDE
from brainmri.model.explanation import enlarge
from training.metrics import bootstrap_interval

MARGIN_PX = 15
"""`pointing` grows each box by so much on every side; half a cell of a map of 10 by 10."""

FIGURES = ("pointing", "pointing_strict", "energy")

Maps = NDArray[np.float32]
Boxes = NDArray[np.floating[Any]]


def localisation(maps: Maps, boxes: Boxes, groups: NDArray[np.intp]) -> dict[str, Any]:
    """Returns how well heat maps meet boxes, each figure with its 95 % interval.

    `pointing`: share of the images whose map, enlarged bilinearly to 299 pixels, has its maximum in the box grown by
    `MARGIN_PX`; `pointing_strict`: in the box itself; `energy`: mean share of the map's sum that lies in the box. A map
    without evidence, all zero, meets nothing.

    Args:
        maps: float32 `[N, h, w]`, 0 or more.
        boxes: `[N, 4]`, left, top, right, bottom in shares of the network's square input.
        groups: Number of the person or group of each image, `[N]`; whole groups are drawn for the intervals.

    Raises:
        ValueError: Lengths differ, a map has a negative or no number, or a box is empty.
    """
    _require_maps(maps)
    _require_boxes(boxes, len(maps))
    rows = [_figures_of(enlarge(cells), box) for cells, box in zip(maps, boxes, strict=True)]
    return _summary(np.array(rows), groups)


def centre_localisation(boxes: Boxes, groups: NDArray[np.intp]) -> dict[str, Any]:
    """Returns what somebody reaches who always points at the image's centre, with a map that is the same everywhere.

    Arguments and figures as in `localisation`; `energy` is the share of the image that the box covers.
    """
    _require_boxes(boxes, len(boxes))
    rows = []
    for box in boxes:
        centre = np.zeros((SIDE, SIDE), np.float32)
        centre[SIDE // 2, SIDE // 2] = 1
        pointing, strict, _ = _figures_of(centre, box)
        rows.append((pointing, strict, float(_inside(box).mean())))
    return _summary(np.array(rows), groups)


def _figures_of(heat: NDArray[np.float32], box: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Returns the figures of one image, in the order of `FIGURES`; `heat` is `[299, 299]`."""
    total = float(heat.sum(dtype=np.float64))
    if total == 0:
        return 0.0, 0.0, 0.0
    peak = np.unravel_index(int(heat.argmax()), heat.shape)
    inside = _inside(box)
    energy = float(heat[inside].sum(dtype=np.float64)) / total
    return float(_inside(box, MARGIN_PX)[peak]), float(inside[peak]), energy


def _inside(box: NDArray[np.floating[Any]], margin_px: int = 0) -> NDArray[np.bool_]:
    """Returns which pixels, `[299, 299]`, have their centre in the box after it was grown."""
    left, top, right, bottom = box * SIDE + np.array([-margin_px, -margin_px, margin_px, margin_px])
    centres = np.arange(SIDE) + 0.5
    across = (left <= centres) & (centres <= right)
    down = (top <= centres) & (centres <= bottom)
    return np.asarray(down[:, np.newaxis] & across)


def _summary(values: NDArray[np.float64], groups: NDArray[np.intp]) -> dict[str, Any]:
    if len(groups) != len(values):
        raise ValueError(f"There are {len(values)} images and {len(groups)} group numbers.")
    summary: dict[str, Any] = {"images": len(values), "groups": len(np.unique(groups))}
    for column, figure in zip(values.T, FIGURES, strict=True):
        if figure != "energy":
            summary[f"{figure}_hits"] = int(column.sum())
        summary[figure] = float(column.mean())
        summary[f"{figure}_ci95"] = bootstrap_interval(_mean_of(column), groups)
    return summary


def _mean_of(column: NDArray[np.float64]) -> Any:
    return lambda rows: float(column[rows].mean())


def _require_maps(maps: Maps) -> None:
    if maps.ndim != 3 or not np.isfinite(maps).all() or (maps < 0).any():
        raise ValueError(f"The maps must be [N, h, w] of numbers that are 0 or more; they are {list(maps.shape)}.")


def _require_boxes(boxes: Boxes, count: int) -> None:
    if boxes.shape != (count, 4) or not count:
        raise ValueError(f"{count} maps need boxes of [{count}, 4], at least one; they are {list(boxes.shape)}.")
    if (boxes[:, 2] <= boxes[:, 0]).any() or (boxes[:, 3] <= boxes[:, 1]).any():
        raise ValueError("A box is empty: its right must be greater than its left, and its bottom than its top.")
