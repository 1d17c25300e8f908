"""Rows as tables of Arrow. Apart from the rows themselves, because a server that keeps no jobs needs no Arrow."""

from collections.abc import Sequence

import pyarrow as pa

from brainmri.bulk.rows import Row, columns_of, values
from brainmri.model.contract import LABELS

_TYPES = {"text": pa.string(), "integer": pa.int32(), "number": pa.float32(), "time": pa.timestamp("ms", tz="UTC")}


def schema_of(tags: Sequence[str], labels: Sequence[str] = LABELS) -> pa.Schema:
    """Returns the columns of a run, in their order.

    Args:
        tags: Keywords of the DICOM elements that are told.
        labels: The classes of its model.
    """
    columns = [(column, _TYPES[kind]) for column, kind in columns_of(labels).items()]
    return pa.schema([*columns, *((keyword, pa.string()) for keyword in tags)])


SCHEMA = schema_of(())
"""The columns of the released models, without tags."""


def to_table(rows: Sequence[Row], tags: Sequence[str] = ()) -> pa.Table:
    """Returns rows of one model as a table of `schema_of`; without rows the classes are those of the released ones."""
    schema = schema_of(tags, rows[0].labels if rows else LABELS)
    return pa.Table.from_pylist([values(row) for row in rows], schema=schema)
