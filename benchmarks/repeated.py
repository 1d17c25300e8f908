"""A bulk run over the same few files again and again: as many images as are wanted, and little disk."""

import csv
from collections.abc import Sequence
from pathlib import Path

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.run import Request, Share


def request(folder: Path, files: Sequence[bytes], images: int) -> Request:
    """Writes the files, and a table that lists them in turn until it has so many images, each with an id of its own.

    Args:
        folder: Where they and the run go; created.
        files: Encoded images.
        images: How many are scored.
    """
    folder.mkdir(parents=True)
    paths = [folder / f"{number:04d}.jpg" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    listed = folder / "images.csv"
    with listed.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "id"])
        writer.writerows([paths[number % len(paths)], number] for number in range(images))
    return Request((str(listed),), folder / "out", False, Share(), None, ArchiveLimits())
