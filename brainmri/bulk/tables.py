"""Tables that list images, written by the caller: CSV, JSON lines or Parquet with a column `path`."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from brainmri.errors import ScoringRefused

_Rows = Iterable[Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table.

    Attributes:
        path: Path or URL; a relative one is below the table's folder.
        id: The caller's name for the image, or empty.
    """

    path: str
    id: str


def is_table_name(name: str) -> bool:
    """Tells whether a file is a table that can be read, by its name."""
    return PurePosixPath(name).suffix.lower() in _READERS


def table_entries(file: BinaryIO, name: str) -> Iterator[Entry]:
    """Yields the images that a table lists, in its order; columns other than `path` and `id` are ignored.

    Args:
        file: Open for reading.
        name: Its ending says what it is; shown in messages.

    Raises:
        ScoringRefused: Not such a table, no column `path`, or a line without a path; the line is named.
    """
    rows = _READERS[PurePosixPath(name).suffix.lower()](file)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            path, identity = row.get("path"), row.get("id")
            if not isinstance(path, str) or not path:
                raise ScoringRefused(
                    f"Image {number} of {name} has no path. The table needs a column named 'path', and may have 'id'."
                )
            yield Entry(path, "" if identity is None else str(identity))
    except (ValueError, AttributeError, csv.Error, pa.ArrowException) as error:
        raise ScoringRefused(f"{name} cannot be read after its image {number}: {error}. Write it again.") from error


def _csv(file: BinaryIO) -> _Rows:
    # The mark at the beginning is what spreadsheets write.
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield from csv.DictReader(text)


def _json_lines(file: BinaryIO) -> _Rows:
    return (json.loads(line) for line in file if line.strip())


def _parquet(file: BinaryIO) -> _Rows:
    table = pq.ParquetFile(file)
    columns = [name for name in ("path", "id") if name in table.schema_arrow.names]
    for batch in table.iter_batches(columns=columns):
        yield from batch.to_pylist()


_READERS = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
