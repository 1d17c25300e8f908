"""Rows as tables of Arrow. Apart from the rows themselves, because a server that keeps no jobs needs no Arrow."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from brainmri.bulk.rows import COLUMNS, Row, values

_TYPES = {"text": pa.string(), "integer": pa.int32(), "number": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}

SCHEMA = pa.schema([(column, _TYPES[kind]) for column, kind in COLUMNS.items()])
"""The columns in their order, without tags."""


def schema_of(tags: Sequence[str]) -> pa.Schema:
    """Returns the columns of a run in which these DICOM elements are told."""
    return pa.schema([*SCHEMA, *((keyword, pa.string()) for keyword in tags)])


def to_table(rows: Iterable[Row], tags: Sequence[str] = ()) -> pa.Table:
    """Returns the rows as a table of `schema_of(tags)`."""
    return pa.Table.from_pylist([values(row) for row in rows], schema=schema_of(tags))
