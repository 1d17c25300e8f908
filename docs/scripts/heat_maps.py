"""Writes the example of docs/explanation.md: `python -m docs.scripts.heat_maps`, again after another model is released.

Drawn slices, and below each the heat map that `brainmri predict --heatmap` lays over it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from docs.scripts.drawn_slices import Drawing

PICTURE = Path(__file__).parents[1] / "figures" / "heat-maps.png"
DRAWINGS = (
    Drawing("axial", "ball", 12, 12),
    Drawing("sagittal", "ball", 9, 9),
    Drawing("axial", "knot", 14, 14),
    Drawing("sagittal", "knot", 29, 29),
)
"""Two whose map points at the lesion, then two whose map points elsewhere."""
SIDE, GAP = 240, 8


def overlay(slice_file: Path, folder: Path) -> Path:
    """Writes the heat map of the likeliest class over a slice, and returns the file."""
    out = folder / f"{slice_file.stem}-map.png"
    command = [sys.executable, "-m", "brainmri", "predict", str(slice_file), "--heatmap", str(out)]
    subprocess.run(command, check=True)  # noqa: S603 -- our own program
    return out


def main() -> None:
    """Writes the picture, a column for each drawing."""
    sheet = Image.new("RGB", (len(DRAWINGS) * (SIDE + GAP) - GAP, 2 * SIDE + GAP), "white")
    with tempfile.TemporaryDirectory() as name:
        for column, drawing in enumerate(DRAWINGS):
            file = Path(name) / f"{column}.png"
            drawing.draw().save(file)
            for row, path in enumerate((file, overlay(file, Path(name)))):
                with Image.open(path) as image:
                    cell = image.convert("RGB").resize((SIDE, SIDE))
                sheet.paste(cell, (column * (SIDE + GAP), row * (SIDE + GAP)))
    sheet.save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
