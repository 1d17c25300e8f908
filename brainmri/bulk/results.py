"""The rows of a run as one file: Parquet, CSV or JSON lines."""

from collections.abc import Iterable
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from brainmri.bulk.row_tables import SCHEMA
from brainmri.bulk.rows import json_line
from brainmri.bulk.run_folder import Format


def write_results(file: BinaryIO, tables: Iterable[pa.Table], form: Format) -> None:
    """Writes tables of `SCHEMA` one after the other, holding one at a time."""
    {"parquet": _parquet, "csv": _csv, "jsonl": _json_lines}[form](file, tables)


def _parquet(file: BinaryIO, tables: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def _csv(file: BinaryIO, tables: Iterable[pa.Table]) -> None:
    with pc_csv.CSVWriter(file, SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)


def _json_lines(file: BinaryIO, tables: Iterable[pa.Table]) -> None:
    for table in tables:
        for row in table.to_pylist():
            file.write(json_line(row))
