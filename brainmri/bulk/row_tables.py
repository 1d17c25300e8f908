"""Rows as tables of Arrow. Apart from the rows themselves, because a server that keeps no jobs needs no Arrow."""

from collections.abc import Iterable

import pyarrow as pa

from brainmri.bulk.rows import COLUMNS, Row, values

_TYPES = {"text": pa.string(), "number": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}

SCHEMA = pa.schema([(column, _TYPES[kind]) for column, kind in COLUMNS.items()])
"""The columns in their order."""


def to_table(rows: Iterable[Row]) -> pa.Table:
    """Returns the rows as a table of `SCHEMA`."""
    return pa.Table.from_pylist([values(row) for row in rows], schema=SCHEMA)
