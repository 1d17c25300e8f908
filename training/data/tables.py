"""CSV tables of dataclass rows, written whole and hashed."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainmri import durable
from brainmri.errors import DatasetError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")

_PARSE: dict[str, Callable[[str], object]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda text: {"True": True, "False": False}[text],
}


def write_table(path: Path, columns: Sequence[str], rows: Iterable["DataclassInstance"]) -> str:
    """Writes dataclass rows as CSV, atomically, and returns the SHA-256 of the file's bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    data = text.getvalue().encode()
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def read_table(path: Path, row_type: type[Row], remedy: str) -> list[Row]:
    """Reads rows that `write_table` wrote; columns of type str, int, float and bool.

    Raises:
        DatasetError: The file is missing or does not have the columns of `row_type`.
    """
    if not path.is_file():
        raise DatasetError(f"{path} does not exist. {remedy}")
    parse: dict[str, Callable[[str], Any]] = {field.name: _PARSE[_type_name(field.type)] for field in fields(row_type)}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or []) != list(parse):
            raise DatasetError(f"{path} has the columns {reader.fieldnames}, not {list(parse)}. {remedy}")
        return [row_type(**{name: parse[name](text) for name, text in row.items()}) for row in reader]


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file, and its folder if need be, so that readers see all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_bytes(path, data)


def _type_name(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
