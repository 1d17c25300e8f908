"""Which models one server is to serve: a small file that a command writes and workers follow."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from brainmri import durable
from brainmri.errors import InvalidSettings

Stamp = tuple[int, int]


@dataclass(frozen=True)
class DesiredState:
    """What is to be served.

    Attributes:
        configured: Tags `name:version` from the environment, the default first.
        activated: The tag that `brainmri models activate` named last, if any.
    """

    configured: tuple[str, ...]
    activated: str | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags to serve, the default first: the activated one in place of the configured one of its name."""
        if self.activated is None:
            return self.configured
        others = list(self.configured)
        same_name = [tag for tag in others if tag.partition(":")[0] == self.activated.partition(":")[0]]
        if self.activated in others:
            others.remove(self.activated)
        elif same_name:
            others.remove(same_name[0])
        return (self.activated, *others)


class DesiredStateFile:
    """The file; written as a whole, so that a reader sees the old or the new.

    Args:
        folder: Of the server's state.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "desired.json"

    def stamp(self) -> Stamp | None:
        """Returns what changes with every write; None without a file.

        Raises:
            OSError: The folder cannot be read.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def read(self) -> DesiredState | None:
        """Returns the desired state; None without a file.

        Raises:
            InvalidSettings: The file cannot be read, or nobody of this project wrote it.
        """
        try:
            parts = json.loads(self._path.read_text(encoding="utf-8"))
            return DesiredState(tuple(map(str, parts["configured"])), parts["activated"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidSettings(
                f"{self._path} cannot be read: {error}. Remove it and start the server again."
            ) from error

    def remove(self) -> None:
        """Forgets it.

        Raises:
            OSError: The file cannot be removed.
        """
        self._path.unlink(missing_ok=True)

    def write(self, desired: DesiredState) -> None:
        """Replaces the file.

        Raises:
            InvalidSettings: It cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(desired))
            durable.write_bytes(self._path, text.encode(), mode=0o600)
        except OSError as error:
            raise InvalidSettings(
                f"{self._path} cannot be written: {error.strerror}. Set BENTOML_HOME to a folder that can be written."
            ) from error
