"""Listeners in this process, and storage SCPs of other projects."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from brainmri.dicom.destination import Destination, FolderDestination
from brainmri.dicom.listen import Listener, Node
from brainmri.dicom.spool import Spool
from brainmri.model.predictor import Predictor

SOON_S = 60
ALLOWED = ("STORESCU", "ECHOSCU")


def until(holds: Callable[[], bool], what: str) -> None:
    """Waits until something holds."""
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {SOON_S} s"
        time.sleep(0.05)


@contextmanager
def listening(
    predictor: Predictor,
    folder: Path,
    destination: Destination | None = None,
    *,
    most: int = 10,
    max_associations: int = 4,
    allowed: tuple[str, ...] = ALLOWED,
) -> Iterator[int]:
    """Runs a listener that writes to `folder/out`; gives its port."""
    spool = Spool(folder / "spool", most)
    node = Node("BRAINMRI", "127.0.0.1", 0, allowed, max_associations)
    listener = Listener(node, predictor, spool, destination or FolderDestination(folder / "out"))
    try:
        yield listener.start()
    finally:
        assert listener.stop(SOON_S)
        spool.close()


def stored(folder: Path) -> list[Path]:
    """Returns the results that have come."""
    return sorted((folder / "out").glob("*.dcm")) if (folder / "out").is_dir() else []
