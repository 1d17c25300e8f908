"""Tables that list images, written by the caller: CSV, JSON lines or Parquet with a column `path`."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import BinaryIO

from brainmri.errors import ScoringRefused
from brainmri.text import printable

_Rows = Iterable[Mapping[str | None, object]]

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SEPARATORS = "".join(_NAMES)
_SEP_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
_MOST_HEADER = 2**16
"""Characters of the line of names."""

_SHOWN = 10
"""Most columns that a message names."""


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

    Columns are known whatever the case of their letters.

    Args:
        file: Open for reading.
        name: Its ending says what it is; shown in messages.

    Raises:
        ScoringRefused: Not such a table, no column `path`, or a line without a path; the line is named, and the columns
            that there are.
    """
    rows = _READERS[PurePosixPath(name).suffix.lower()](file, name)
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            known = {key.strip().lower(): value for key, value in row.items() if key is not None}
            path, identity = known.get("path"), known.get("id")
            if not isinstance(path, str) or not path:
                raise ScoringRefused(
                    f"Image {number} of {name} has no path. The table needs a column named 'path', and may have 'id'."
                    f" It has the columns {_shown(known)}."
                )
            yield Entry(path, "" if identity is None else str(identity))
    except UnicodeError as error:
        raise ScoringRefused(
            f"{name} is neither UTF-8 nor UTF-16 text. Save it as UTF-8 (spreadsheets call it 'CSV UTF-8')."
        ) from error
    except (ValueError, AttributeError, csv.Error) as error:
        raise ScoringRefused(f"{name} cannot be read after its image {number}: {error}. Write it again.") from error


def _csv(file: BinaryIO, name: str) -> _Rows:
    with io.TextIOWrapper(file, encoding=_encoding(file), newline="") as text:
        first = text.readline(_MOST_HEADER)
        # A spreadsheet's way to name the separator.
        named = _SEP_LINE.fullmatch(first.rstrip("\r\n"))
        header = text.readline(_MOST_HEADER) if named else first
        separators = named[1] if named else _SEPARATORS
        separator = next((one for one in separators if "path" in map(str.lower, _cells(header, one))), None)
        if separator is None:
            raise _no_path(name, header, separators)
        yield from csv.DictReader(text, _cells(header, separator), delimiter=separator, skipinitialspace=True)


def _encoding(file: BinaryIO) -> str:
    """Returns the encoding by the mark at the beginning, or by the zeros of UTF-16 without one."""
    head = file.read(4)
    file.seek(0)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[1::2] == b"\0\0":
        return "utf-16-le"
    return "utf-16-be" if head[::2] == b"\0\0" else "utf-8-sig"


def _cells(header: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]


def _no_path(name: str, header: str, separators: str) -> ScoringRefused:
    separator = max(separators, key=header.count)
    return ScoringRefused(
        f"{name} has no column named 'path'. It has the columns {_shown(_cells(header, separator))}, separated by"
        f" {_NAMES.get(separator, repr(separator))}. Name the column of paths 'path'."
    )


def _shown(columns: Iterable[str]) -> str:
    return ", ".join(repr(printable(column[:40])) for column in islice(columns, _SHOWN)) or "''"


def _json_lines(file: BinaryIO, _: str) -> _Rows:
    return (json.loads(line) for line in file if line.strip())


def _parquet(file: BinaryIO, name: str) -> _Rows:
    # 60 MB of memory, for those alone who name such a table.
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.ParquetFile(file)
        columns = [column for column in table.schema_arrow.names if column.strip().lower() in ("path", "id")]
        if not any(column.strip().lower() == "path" for column in columns):
            raise ScoringRefused(
                f"{name} has no column named 'path'. It has the columns {_shown(table.schema_arrow.names)}. Name the"
                " column of paths 'path'."
            )
        for batch in table.iter_batches(columns=columns):
            yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


_READERS = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
