"""Writes the samples of the page: `python -m docs.scripts.samples`, again after another model is released.

Samples that still get their answers stay. For each other answer it searches for a drawn slice: first at random, then
among slices that share the head or the lesion with those that came nearest. The model is asked through
`brainmri predict`, so that a sample gets on the page the answer that it was chosen for. It takes some seconds a round,
and usually a few rounds.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from docs.scripts.drawn_slices import KINDS, VIEWS, Drawing, draw_chart

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
UNSURE, FOREIGN = "unsure", "not_a_brain_mri"
ANSWERS = (*LABELS, UNSURE, FOREIGN)
SAMPLES = Path(__file__).parents[2] / "brainmri" / "page" / "site" / "page" / "samples"
FIRST_SEEDS = 12
"""Slices of each view and kind of lesion that are drawn in the first round."""
PARENTS, CHILDREN = 3, 10
"""In each further round, the nearest slices for an answer that is not clear yet, and those drawn after each."""
MOST_ROUNDS = 40
CLEAR = 0.9
"""Probability of a label from which on its sample is clear."""
_SEEDS = 2**31


@dataclass(frozen=True)
class Found:
    """A drawing and what the model said of it."""

    drawing: Drawing
    file: bytes
    answer: dict[str, Any]

    def nearness(self, target: str) -> float:
        """Returns how near it comes to standing for an answer; from 0 on it gets that answer.

        A slice that the model does not take for one would puzzle a person, so it stands for nothing.
        """
        shares, verdict = self.answer["probabilities"], self.answer["verdict"]
        second = sorted(shares.values(), reverse=True)[1]
        # The best unsure slice lies between two classes.
        clearness = float(second if target == UNSURE else shares[target])
        if verdict == target:
            return clearness
        return clearness - (2 if verdict == FOREIGN else 1)


def ask(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Returns file name to the released model's answer."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        paths = [str(Path(folder) / name) for name in files]
        command = [sys.executable, "-m", "brainmri", "predict", "--json", *paths]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 -- our own program
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {Path(answer["file"]).name: answer for answer in answers}


def as_jpeg(image: Image.Image) -> bytes:
    """Returns a picture as a file."""
    with tempfile.SpooledTemporaryFile() as file:
        image.save(file, "JPEG", quality=88)
        file.seek(0)
        return file.read()


def asked(drawings: Iterable[Drawing]) -> list[Found]:
    """Draws slices and asks the model about them."""
    files = {f"{number}.jpg": (drawing, as_jpeg(drawing.draw())) for number, drawing in enumerate(drawings)}
    answers = ask({name: content for name, (_, content) in files.items()})
    return [Found(*files[name], answer) for name, answer in answers.items()]


def best(found: Iterable[Found], target: str, most: int = 1) -> list[Found]:
    """Returns the nearest for an answer, the nearest first."""
    return sorted(found, key=lambda one: -one.nearness(target))[:most]


def children(parent: Drawing, rng: random.Random) -> list[Drawing]:
    """Returns slices with the same lesion in other heads, other lesions in the same head, and one of another kind."""
    others = [replace(parent, lesion=rng.randrange(_SEEDS)) for _ in range(CHILDREN // 2)]
    others += [replace(parent, head=rng.randrange(_SEEDS)) for _ in range(CHILDREN // 2 - 1)]
    return [*others, replace(parent, kind=rng.choice(KINDS))]


def lacking() -> list[str]:
    """Returns the answers whose samples do not get them from the released model."""
    files = {f"{target}.jpg": SAMPLES / f"{target}.jpg" for target in ANSWERS}
    verdicts = ask({name: path.read_bytes() for name, path in files.items() if path.exists()})
    return [
        target
        for target in ANSWERS
        if f"{target}.jpg" not in verdicts or verdicts[f"{target}.jpg"]["verdict"] != target
    ]


def search(targets: list[str]) -> dict[str, Found]:
    """Returns answer to its nearest slice.

    Args:
        targets: Answers that a slice can have.
    """
    rng = random.Random(0)  # noqa: S311 -- which slices are drawn, the same at each call
    drawings = [Drawing(view, kind, seed, seed) for view, kind, seed in product(VIEWS, KINDS, range(FIRST_SEEDS))]
    kept: list[Found] = []
    for number in range(MOST_ROUNDS):
        kept += asked(drawings)
        parents = {target: best(kept, target, PARENTS) for target in targets}
        kept = list({id(one): one for ones in parents.values() for one in ones}.values())
        nearness = {target: round(ones[0].nearness(target), 3) for target, ones in parents.items()}
        sys.stderr.write(f"round {number + 1}: {nearness}\n")
        open_targets = [target for target, near in nearness.items() if near < (0.0 if target == UNSURE else CLEAR)]
        if not open_targets:
            break
        drawings = [child for target in open_targets for one in parents[target] for child in children(one.drawing, rng)]
    return {target: ones[0] for target, ones in parents.items()}


def main() -> None:
    """Writes a sample for every answer that lacks one and was found, and names those that were not found."""
    if FOREIGN in lacking():
        (SAMPLES / f"{FOREIGN}.jpg").write_bytes(as_jpeg(draw_chart()))
    if targets := [target for target in lacking() if target != FOREIGN]:
        for target, one in search(targets).items():
            if one.nearness(target) >= 0:
                (SAMPLES / f"{target}.jpg").write_bytes(one.file)
    if missing := lacking():
        raise SystemExit(f"No drawn slice gave {', '.join(missing)}.")


if __name__ == "__main__":
    main()
