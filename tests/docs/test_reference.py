from docs.scripts.answers import document
from tests.e2e.servers import ROOT


def test_the_table_of_answers_is_that_of_the_schemas() -> None:
    shown = (ROOT / "docs" / "answers.md").read_text()
    assert shown == document(), "Write it again: python -m docs.scripts.answers > docs/answers.md"


def test_every_field_has_a_meaning() -> None:
    rows = [line for line in document().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
