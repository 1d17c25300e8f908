"""Where the stages of training leave what the next one reads."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from brainmri.errors import DatasetError
from brainmri.model.bundle import file_sha256
from brainmri.model.contract import Classes
from training.data.origin import Origin
from training.data.own import read_classes
from training.data.slices import Slices, decode_split
from training.data.split import SplitRow, read_split


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

    @property
    def labels(self) -> Path:
        """Names the labels, where they are not the released ones."""
        return self.data / "labels.json"

    def classes(self) -> Classes:
        """Returns what the dataset of the last audit tells apart."""
        return read_classes(self.labels)

    @property
    def outputs(self) -> Path:
        """Remembers what networks answered; see `training.release.outputs`."""
        return self.root / "outputs"

    def run(self, recipe_name: str) -> Path:
        """Returns the folder of a recipe's run."""
        return self.root / recipe_name

    def origin(self) -> Origin:
        """Returns the hashes of the manifest and of the split, the latter computed anew.

        Raises:
            DatasetError: There is no split yet, or `split.csv` is not the one that `split.json` describes.
        """
        path = self.data / "split.json"
        if not path.is_file():
            raise DatasetError(f"{path} does not exist. Run `python -m training split` first.")
        facts = json.loads(path.read_text())
        if file_sha256(self.data / "split.csv") != facts["sha256"]:
            raise DatasetError(f"{self.data / 'split.csv'} was altered. Run `python -m training split` again.")
        return Origin(data_sha256=facts["manifest_sha256"], split_sha256=facts["sha256"])

    def slices(self, data: Path, track: Callable[[list[SplitRow]], Iterable[SplitRow]] = iter) -> Slices:
        """Returns the decoded images of the split, decoding them from `data` on the first call."""
        split_sha256 = self.origin().split_sha256
        rows, folder = read_split(self.data), self.data / "slices"
        return decode_split(data, rows, split_sha256, folder, track, self.classes())
