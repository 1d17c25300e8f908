"""Where a run keeps what it does: what was asked, the frozen input, one part for each shard, the results, a marker."""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from brainmri import durable
from brainmri.bulk.inputs import Listing
from brainmri.bulk.manifest import Division, Frozen, Manifest, freeze
from brainmri.bulk.row_tables import SCHEMA
from brainmri.bulk.rows import FAILED
from brainmri.errors import ScoringRefused
from brainmri.imaging import PREPROCESSING_VERSION, DecodeLimits
from brainmri.imaging.nifti import STEP_MM
from brainmri.model.contract import LABELS, NO_TUMOR, Classes, Contract

Format = Literal["parquet", "csv", "jsonl"]

_logger = logging.getLogger(__name__)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Method(_Frozen):
    """How images are scored: everything that an answer depends on besides the image."""

    model: str
    """`name:version`."""
    contract_sha256: str
    """Of the model's contract, and so of its weights, calibration and thresholds."""
    runtime: str
    """Such as `openvino-int8`."""
    preprocessing_version: str
    """Of the decode and resize rule."""
    novelty_policy: str
    """Label of an image that looks like no brain MRI."""
    batch_size: int
    """Images in one inference; int8 answers of another batch size may differ in the last digits."""
    max_image_bytes: int
    """Larger files are failed rows."""
    max_image_pixels: int
    """Larger images are failed rows."""
    force: bool = False
    """Whether DICOM objects that say they are not MRI of a head are answered too."""
    tags: tuple[str, ...] = ()
    """Keywords of the DICOM elements that have columns of their own."""
    step_mm: float = STEP_MM
    """Between the slices of a NIfTI volume, in millimetres."""
    labels: tuple[str, ...] = LABELS
    """Classes of the model in the order of its logits."""
    no_tumor_label: str | None = NO_TUMOR
    """Which of them means that there is no tumour."""

    @classmethod
    def of(
        cls,
        contract: Contract,
        runtime: str,
        novelty_policy: str,
        batch_size: int,
        limits: DecodeLimits,
        *,
        force: bool = False,
        tags: tuple[str, ...] = (),
    ) -> "Method":
        """Returns how this code scores with a model."""
        return cls(
            model=contract.tag,
            contract_sha256=contract.digest(),
            runtime=runtime,
            preprocessing_version=PREPROCESSING_VERSION,
            novelty_policy=novelty_policy,
            batch_size=batch_size,
            max_image_bytes=limits.max_bytes,
            max_image_pixels=limits.max_pixels,
            force=force,
            tags=tags,
            labels=contract.labels,
            no_tumor_label=contract.classes.no_tumor,
        )

    @property
    def classes(self) -> Classes:
        """What the model tells apart."""
        return Classes(self.labels, self.no_tumor_label)


class Record(_Frozen):
    """What a run is; nobody continues or joins it who asks for something else."""

    schema_version: Literal[1] = 1
    inputs: tuple[str, ...]
    """As the caller named them."""
    items: int
    """Images."""
    items_sha256: str
    """Of the frozen manifest's content."""
    left_out: int
    """Files of folders and archives that are not scored."""
    left_out_reasons: dict[str, int] = {}
    """Why not, a key of `brainmri.bulk.chosen.REASONS`, to number of files; empty in runs of earlier releases."""
    shard_size: int
    """Images of a shard."""
    method: Method
    """How they are scored."""

    def require(self, other: "Record") -> None:
        """Compares with what is asked now.

        Raises:
            ScoringRefused: Something differs; says what.
        """
        mine, theirs = (
            {**record.model_dump(exclude={"method"}), **record.method.model_dump()} for record in (self, other)
        )
        differing = [
            f"{name} is {value!r} there and {theirs[name]!r} here"
            for name, value in mine.items()
            if value != theirs[name]
        ]
        if differing:
            raise ScoringRefused(
                f"The folder holds another run: {'; '.join(differing)}. Ask for the same, or choose another --out."
            )


class RunFolder:
    """The folder of one run.

    Args:
        root: Need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._parts = root / "parts"
        self._record = root / "run.json"
        self.marker = root / "_SUCCESS"
        self.summary = root / "summary.json"
        self.report = root / "report.html"

    @contextmanager
    def held(self, share: int) -> Iterator[None]:
        """Keeps other processes from the same share of this run, on file systems that can.

        Raises:
            ScoringRefused: Another process is at it.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        with (self.root / f".lock-{share}").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ScoringRefused(
                    f"Another process is scoring into {self.root}. Wait for it, or choose another --out."
                ) from error
            except OSError:
                # A file system without locks: parts are whole all the same, only work may be done twice.
                _logger.warning("%s cannot be locked; do not start a second run in it", self.root)
            yield

    def results(self, form: Format) -> Path:
        """Returns where the joined rows go."""
        return self.root / f"results.{form}"

    def record(self) -> Record | None:
        """Returns what was asked of the run that is here; None if there is none.

        Raises:
            ScoringRefused: The file cannot be understood.
        """
        try:
            return Record.model_validate_json(self._record.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise ScoringRefused(
                f"{self._record} is of another version of brainmri, or damaged. Choose another --out."
            ) from error

    def begin(self, inputs: Listing, share: int, division: Division, make: Callable[[Frozen], Record]) -> Record:
        """Freezes the inputs and records what is asked; of several shares that begin at once, one does.

        Args:
            inputs: What to freeze.
            share: Number of the share that begins.
            division: Of the images into shards.
            make: Makes the record of what was frozen.

        Returns:
            The record that holds, which another share may have made.

        Raises:
            ScoringRefused: No image, or another share has found other images.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        aside = self.root / f".manifest-{share}.parquet"
        frozen = freeze(aside, inputs, division, inputs.left_out)
        aside.rename(self._manifest(frozen.sha256))
        mine = make(frozen)
        content = mine.model_dump_json(indent=2).encode() + b"\n"
        if durable.create(self._record, lambda file: file.write(content)):
            return mine
        theirs = self.record()
        assert theirs is not None  # noqa: S101 -- it was there a moment ago
        theirs.require(mine)
        return theirs

    def manifest(self, record: Record) -> Manifest:
        """Opens the frozen input.

        Raises:
            ScoringRefused: It is missing.
        """
        path = self._manifest(record.items_sha256)
        if not path.is_file():
            raise ScoringRefused(
                f"{path} is missing, without which the run cannot go on. Begin again in another --out."
            )
        return Manifest(path)

    def write_part(self, shard: int, parquet: bytes) -> None:
        """Stores the rows of a shard durably, as a whole."""
        durable.write_bytes(self._part(shard), parquet)

    def failures(self, shard: int, images: int) -> int | None:
        """Returns how many rows of a part have no answer; None if there is no whole part of so many images."""
        try:
            statuses = pq.read_table(self._part(shard), columns=["status"])["status"]
        except (FileNotFoundError, pa.ArrowException):
            return None
        return None if len(statuses) != images else int(pc.sum(pc.equal(statuses, FAILED)).as_py() or 0)

    def remove_leftovers(self) -> None:
        """Removes what processes that were killed left aside; every share must have ended."""
        for folder in (self.root, self._parts):
            durable.remove_leftovers(folder)

    def has_part(self, shard: int) -> bool:
        """Tells whether a shard is done."""
        return self._part(shard).is_file()

    def part(self, shard: int, schema: pa.Schema = SCHEMA) -> pa.Table:
        """Returns the rows of a shard that is done; a column that an earlier release did not write is empty.

        Raises:
            ScoringRefused: The file cannot be read.
        """
        try:
            return pq.read_table(self._part(shard), schema=schema)
        except pa.ArrowException as error:
            raise ScoringRefused(
                f"{self._part(shard)} is damaged: {error}. Remove it, and --resume the run."
            ) from error

    def _part(self, shard: int) -> Path:
        return self._parts / f"{shard:06d}.parquet"

    def _manifest(self, sha256: str) -> Path:
        return self.root / f"manifest-{sha256[:12]}.parquet"
