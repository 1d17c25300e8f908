"""Where the stages of training leave what the next one reads."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from brainmri.errors import DatasetError
from training.arrays import Arrays, build_arrays
from training.dataset import find_dataset
from training.split import SplitRow, read_split


@dataclass(frozen=True)
class Workspace:
    """The folder of one dataset's manifest, split, decoded images and runs.

    Attributes:
        root: The folder, `runs/` by default; not committed.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Holds the manifest, the audit, the split and the decoded images."""
        return self.root / "data"

    @property
    def manifest(self) -> Path:
        """The audit's table, one row a file."""
        return self.data / "manifest.csv"

    def run(self, recipe_name: str) -> Path:
        """Returns the folder of a recipe's run."""
        return self.root / recipe_name

    def split_facts(self) -> dict[str, str]:
        """Returns `sha256` and `manifest_sha256` of the split.

        Raises:
            DatasetError: There is no split yet.
        """
        path = self.data / "split.json"
        if not path.is_file():
            raise DatasetError(f"{path} does not exist. Run `python -m training split` first.")
        facts = json.loads(path.read_text())
        return {key: facts[key] for key in ("sha256", "manifest_sha256")}

    def arrays(self, data: Path, track: Callable[[list[SplitRow]], Iterable[SplitRow]] = iter) -> Arrays:
        """Returns the decoded images of the split, decoding them from `data` on the first call."""
        return build_arrays(
            find_dataset(data), read_split(self.data), self.split_facts()["sha256"], self.data / "arrays", track
        )
