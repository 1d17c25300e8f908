"""Parts of a run, perhaps of several folders, as one sequence of rows that is known to be whole."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from brainmri.bulk.manifest import Manifest
from brainmri.bulk.row_tables import schema_of
from brainmri.bulk.run_folder import Record, RunFolder
from brainmri.errors import ScoringRefused

_SHOWN = 10


def joined(folders: Sequence[RunFolder], record: Record, manifest: Manifest) -> Iterator[pa.Table]:
    """Yields the rows of every shard, in order.

    Args:
        folders: Whoever has a part, gives it; the first goes first.
        record: What was asked of the run.
        manifest: Which images there are.

    Raises:
        ScoringRefused: Parts are missing, or hold other images or another model's answers.
    """
    holders = [_holder(folders, shard) for shard in range(manifest.shards)]
    missing = [str(shard) for shard, holder in enumerate(holders) if holder is None]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise ScoringRefused(
            f"{len(missing)} of {manifest.shards} parts are missing: {shown}. Run the shares that lack them again with"
            " --resume, or name their folders as well."
        )
    for shard, holder in enumerate(holders):
        assert holder is not None  # noqa: S101 -- none is missing
        table = holder.part(shard, schema_of(record.method.tags, record.method.labels))
        _verify(table, shard, record, manifest)
        yield table


def require_same_run(folders: Sequence[RunFolder]) -> Record:
    """Returns what was asked of the run of which every folder holds a share.

    Raises:
        ScoringRefused: A folder holds no run, or another one.
    """
    records = []
    for folder in folders:
        record = folder.record()
        if record is None:
            raise ScoringRefused(f"{folder.root} holds no run. Name the --out of brainmri score.")
        records.append(record)
    first = records[0]
    for record in records[1:]:
        first.require(record)
    return first


def _holder(folders: Sequence[RunFolder], shard: int) -> RunFolder | None:
    return next((folder for folder in folders if folder.has_part(shard)), None)


def _verify(table: pa.Table, shard: int, record: Record, manifest: Manifest) -> None:
    expected = [item.id for item in manifest.items(shard)]
    if table["id"].to_pylist() != expected:
        raise ScoringRefused(f"Part {shard} does not hold the images of the manifest. Remove it, and --resume the run.")
    for column, value in (
        ("model", record.method.model),
        ("runtime", record.method.runtime),
        ("preprocessing_version", record.method.preprocessing_version),
    ):
        if pc.unique(table[column]).to_pylist() != [value]:
            raise ScoringRefused(
                f"Part {shard} has another {column} than {value!r}, which the run has. Remove it, and --resume the run."
            )
