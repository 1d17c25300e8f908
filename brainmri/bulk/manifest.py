"""The input of a run, frozen: a Parquet file with one row group for each shard."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from brainmri import durable
from brainmri.bulk.chosen import left_out_lines
from brainmri.bulk.items import Item, item_id
from brainmri.errors import ScoringRefused

# Locations are bytes, because a file name need not be UTF-8.
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("location", pa.binary()),
        ("member", pa.string()),
        ("frame", pa.int32()),
        ("instance", pa.string()),
        ("series", pa.string()),
    ]
)


@dataclass(frozen=True)
class Frozen:
    """What was frozen.

    Attributes:
        items: Number of images.
        sha256: Of their ids, paths, places and frames in order, independent of the file's encoding and of the shards.
        shard_size: Images of a shard.
    """

    items: int
    sha256: str
    shard_size: int


@dataclass(frozen=True)
class Division:
    """How images are divided into shards.

    Attributes:
        shard_size: Most images of a shard, at least 1; the last may have fewer.
        least_shards: Shards are smaller where there would be fewer than this: each of as many processes gets one.
    """

    shard_size: int
    least_shards: int = 1

    def size(self, items: int) -> int:
        """Returns the images of a shard."""
        if self.least_shards == 1:
            return self.shard_size
        return max(1, min(self.shard_size, items // self.least_shards))


class Manifest:
    """A frozen manifest, of which one shard at a time is in memory.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)

    @property
    def shards(self) -> int:
        """Number of shards; their numbers count from 0."""
        return int(self._file.num_row_groups)

    def size(self, shard: int) -> int:
        """Returns the number of images of a shard."""
        return int(self._file.metadata.row_group(shard).num_rows)

    def items(self, shard: int) -> list[Item]:
        """Returns the images of a shard, in order."""
        return [_item(row) for row in self._file.read_row_group(shard).to_pylist()]

    def __enter__(self) -> "Manifest":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()


def freeze(path: Path, items: Iterable[Item], division: Division, left_out: Mapping[str, int] | None = None) -> Frozen:
    """Writes the images of a run in their order; an image that several inputs name is kept once, where it is first.

    Args:
        path: Where the manifest goes.
        items: Not held in memory as a whole.
        division: Into shards.
        left_out: Is filled while the items are listed: what the message says where there is none.

    Raises:
        ScoringRefused: No image at all, or one id for two of them.
    """
    counted = _Counted()
    _write(path, counted.once(items), division.shard_size)
    if not counted.items:
        path.unlink()
        beside = "".join(f" {line}" for line in left_out_lines(left_out or {}))
        raise ScoringRefused(f"The inputs hold no image.{beside} Name image files, folders, archives or tables.")
    size = division.size(counted.items)
    if size < division.shard_size and size < counted.items:
        with Manifest(path) as manifest:
            _write(path, chain.from_iterable(map(manifest.items, range(manifest.shards))), size)
    return Frozen(counted.items, counted.digest.hexdigest(), size)


def _write(path: Path, items: Iterator[Item], shard_size: int) -> None:
    def write(file: BinaryIO) -> None:
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
            while shard := list(islice(items, shard_size)):
                writer.write_table(pa.Table.from_pylist([_row(item) for item in shard], schema=_SCHEMA))

    durable.write(path, write)


class _Counted:
    """Counts and hashes what passes, and lets every id pass once."""

    def __init__(self) -> None:
        self.items = 0
        self.digest = hashlib.sha256()
        self._seen: set[int] = set()

    def once(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            # Numbers take less memory than the texts that they stand for.
            number = int.from_bytes(hashlib.sha256(item.id.encode()).digest()[:10], "big")
            if number in self._seen:
                if item.id != item_id(item.path, item.frame):
                    raise ScoringRefused(f"Two images have the id {item.id!r}. Give each an id of its own, or none.")
                continue
            self._seen.add(number)
            self.items += 1
            self.digest.update(json.dumps(list(astuple(item))).encode() + b"\n")
            yield item


def _row(item: Item) -> dict[str, object]:
    return {**asdict(item), "location": os.fsencode(item.location)}


def _item(row: dict[str, Any]) -> Item:
    return Item(**{**row, "location": os.fsdecode(row["location"])})
