"""The rows of a run as one file: Parquet, CSV or JSON lines."""

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from brainmri.bulk.row_tables import SCHEMA
from brainmri.bulk.rows import json_line
from brainmri.bulk.run_folder import Format


def write_results(file: BinaryIO, tables: Iterable[pa.Table], form: Format, schema: pa.Schema = SCHEMA) -> None:
    """Writes tables of one schema one after the other, holding one at a time."""
    {"parquet": _parquet, "csv": _csv, "jsonl": _json_lines}[form](file, tables, schema)


def _parquet(file: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _csv(file: BinaryIO, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with pc_csv.CSVWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table)


def _json_lines(file: BinaryIO, tables: Iterable[pa.Table], _: pa.Schema) -> None:
    for table in tables:
        for row in table.to_pylist():
            file.write(json_line(row))
