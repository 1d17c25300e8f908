"""Writes the samples of the page: `python -m docs.scripts.samples`, again after another model is released.

Draws slices until the released model has given every answer, and keeps the clearest of each. The model is asked through
`brainmri predict`, so that a sample gets on the page the answer that it was chosen for.
"""

import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from docs.scripts.drawn_slices import draw_chart, draw_slice

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
ANSWERS = (*LABELS, "unsure", "not_a_brain_mri")
CHART = "chart.jpg"
SAMPLES = Path(__file__).parents[2] / "brainmri" / "page" / "site" / "page" / "samples"
ROUND = 12
"""Slices of each view and lesion that are drawn in one round."""
MOST_ROUNDS = 40
CLEAR = 0.9
"""A round that finds every answer this clearly is the last."""
_VIEWS, _LESIONS = ("axial", "sagittal"), ("ring", "ball", "knot", "nothing")


def clearness(answer: dict[str, Any]) -> float:
    """Returns how well an answer of `predict` stands for its verdict, in [0, 1]."""
    first, second = sorted(answer["probabilities"].values(), reverse=True)[:2]
    # The best unsure slice lies between two classes.
    return float(second if answer["verdict"] == "unsure" else first)


def answers_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns file name to the released model's answer."""
    command = [sys.executable, "-m", "brainmri", "predict", "--json", *map(str, sorted(folder.iterdir()))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 -- our own program
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {Path(answer["file"]).name: answer for answer in answers}


def search_round(number: int) -> dict[str, tuple[float, bytes]]:
    """Draws a round of slices, and returns verdict to how clear its clearest slice is, and its file."""
    best: dict[str, tuple[float, bytes]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_chart().save(folder / CHART, quality=88)
        for view, lesion, seed in product(_VIEWS, _LESIONS, range(number * ROUND, (number + 1) * ROUND)):
            draw_slice(view, lesion, seed).save(folder / f"{view}-{lesion}-{seed}.jpg", quality=88)
        for file, answer in answers_of(folder).items():
            # A slice that the model does not take for one would puzzle a person; a chart does not.
            if answer["verdict"] == "not_a_brain_mri" and file != CHART:
                continue
            found = clearness(answer), (folder / file).read_bytes()
            best[answer["verdict"]] = max(best.get(answer["verdict"], found), found)
    return best


def main() -> None:
    """Searches round by round, and keeps the best of every answer; an interrupted search leaves what it has found."""
    best: dict[str, tuple[float, bytes]] = {}
    for number in range(MOST_ROUNDS):
        for verdict, found in search_round(number).items():
            best[verdict] = max(best.get(verdict, found), found)
            (SAMPLES / f"{verdict}.jpg").write_bytes(best[verdict][1])
        told = {verdict: round(clear, 3) for verdict, (clear, _) in sorted(best.items())}
        sys.stderr.write(f"round {number + 1}: {told}\n")
        if all(best.get(verdict, (0.0,))[0] >= CLEAR for verdict in LABELS) and "unsure" in best:
            return
    if missing := set(ANSWERS) - best.keys():
        raise SystemExit(f"No drawn slice gave {', '.join(sorted(missing))}; the samples of before stay.")


if __name__ == "__main__":
    main()
