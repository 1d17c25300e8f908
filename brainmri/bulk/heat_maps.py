"""The heat maps of a run: a grey PNG for each image that is answered, named after its row."""

import re
from dataclasses import dataclass
from pathlib import Path

from brainmri.bulk.items import item_id
from brainmri.model.explanation import HeatMap
from brainmri.model.heat_picture import grey_map

_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class HeatMapFolder:
    """Where heat maps go.

    Attributes:
        folder: Is made with the first one. What an interrupted run left is written again with its shard.
    """

    folder: Path

    def path_of(self, identity: str) -> Path:
        """Returns the file of a row's id."""
        return self.folder / f"{file_stem(identity)}.png"

    def write(self, identity: str, heat: HeatMap) -> None:
        """Writes the heat map of one row."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path_of(identity).write_bytes(grey_map(heat).png)


def file_stem(identity: str) -> str:
    """Returns what the files of a row are named after: its id, or the id's hash where that would not do as a name."""
    return identity if _PLAIN.fullmatch(identity) else item_id(identity)
