"""The files in which the workers of a server share their metrics, with room on the disk before they are mapped.

`prometheus_client` maps them sparse. On a disk without room, the first write to a new page then ends the process with
SIGBUS.
"""

import os
from pathlib import Path

from brainmri.observe.metric_specs import SPECS

FILE_BYTES = 2**19
"""Each file's size: the histograms of a hundred routes fit."""


def allocate(folder: Path) -> None:
    """Makes this process's files, filled with zeros, in which `prometheus_client` then finds nothing and much room.

    Args:
        folder: What `PROMETHEUS_MULTIPROC_DIR` names.

    Raises:
        OSError: There is no room, or the folder cannot be written; no file is left.
    """
    files = [folder / f"{kind}_{os.getpid()}.db" for kind in _kinds()]
    try:
        for file in files:
            with file.open("wb") as opened:
                os.posix_fallocate(opened.fileno(), 0, FILE_BYTES)
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise


def _kinds() -> list[str]:
    kept = [spec for spec in SPECS if spec.kind != "gauge" or spec.across]
    return sorted({f"gauge_{spec.across}" if spec.across else spec.kind for spec in kept})
