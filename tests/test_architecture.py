"""Holds the pages that describe the tree to the tree."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("architecture.md", "where-things-are.md")
_PATH = re.compile(r"(?:brainmri|training|tests|container|k8s|monitoring|benchmarks|docs)/[\w./-]*\w/?|\bservice\.py\b")


def named(text: str) -> list[str]:
    """Returns the paths that a page names."""
    return _PATH.findall(text)


def missing(text: str) -> list[str]:
    """Returns the paths that a page names and that the tree lacks."""
    return [path for path in named(text) if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert len(named(text)) > 20
    assert missing(text) == []


def test_a_path_that_is_gone_is_found() -> None:
    assert missing("brainmri/batching/lanes.py runs it; service.py, brainmri/web/ stay") == [
        "brainmri/batching/lanes.py"
    ]


def test_the_way_of_one_image_is_told_in_sixty_lines() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text().splitlines()) <= 60


def test_the_architecture_names_every_room() -> None:
    rooms = {f"brainmri/{path.parent.name}/" for path in (ROOT / "brainmri").glob("*/__init__.py")}
    assert rooms - set(named((ROOT / "docs" / "architecture.md").read_text())) == set()
