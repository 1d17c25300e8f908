import json
from pathlib import Path

from training.release import looks

RELEASED = Path(__file__).parents[3] / "models" / "brain_mri_xception"


def test_the_released_card_lists_every_look_at_its_test_parts() -> None:
    split = json.loads((RELEASED / "metrics.json").read_text())["evaluated"]["split_sha256"]
    section = looks.section(split)
    assert section.count("\n| ") == len(looks.looks_at(split)) + 1 == 3
    assert section in (RELEASED / "card.md").read_text()


def test_the_last_look_is_the_released_one() -> None:
    metrics = json.loads((RELEASED / "metrics.json").read_text())
    last = looks.looks_at(metrics["evaluated"]["split_sha256"])[-1]
    assert metrics["evaluated"]["model"].endswith(f":{last.candidate}")
    assert round(metrics["person"]["macro_f1"], 3) == last.macro_f1
    assert round(metrics["external"]["br35h"]["found"], 3) == last.found


def test_a_split_that_nobody_looked_at_has_no_section() -> None:
    assert looks.section("0" * 64) == ""
