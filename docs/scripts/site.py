"""A hook of MkDocs (`mkdocs.yml`): puts every decision into the navigation, in the order of their numbers."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Fills the chapter `Decisions`."""
    folder = Path(config["docs_dir"])
    pages = sorted(path.relative_to(folder).as_posix() for path in (folder / "decisions").glob("*.md"))
    for chapter in config["nav"]:
        if isinstance(chapter, dict) and "Decisions" in chapter:
            chapter["Decisions"] = pages
    return config
