"""Images to rows in one process: a bounded pool decodes ahead while the network runs on full batches.

Batches never reach across shards, and are the same whatever was decoded first: results do not depend on timing. As
many run at a time as the runtime has streams; OpenVINO's streams give the same numbers to the last bit. What comes
before and after the network has threads of its own, so that the network never waits for either.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, MutableSequence, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.streams import run_batch
from brainmri.blocking import Threads
from brainmri.bulk.heat_maps import HeatMapFolder, file_stem
from brainmri.bulk.items import Item
from brainmri.bulk.loaded import Loaded
from brainmri.bulk.rows import Row, answered, failed
from brainmri.bulk.sources import Sources
from brainmri.bulk.window import in_order
from brainmri.dicom.folder import DicomFolder
from brainmri.dicom.source import Source, read_source
from brainmri.errors import BrainMRIError, ImageCrashed, InferenceFailed
from brainmri.imaging import ReadOptions
from brainmri.imaging.contents import elements_of
from brainmri.model.explanation import Explain
from brainmri.model.predictor import Prediction, Predictor
from brainmri.model.runtimes.protocol import Output

_BATCHES_AHEAD = 4

UNTOUCHED, BEGUN, DONE = 0, 1, 2
"""Marks of an image: which of them a process was busy with when it died."""


@dataclass(frozen=True)
class Shard:
    """Images that are scored, stored and repeated together.

    Attributes:
        number: Of the shard.
        items: Its images, in order.
        marks_at: Where its marks begin.
        crashed: Position to what happened, for images that ended a process and so are not tried again.
    """

    number: int
    items: list[Item]
    marks_at: int = 0
    crashed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardRows:
    """What became of a shard: one row for each of its images, in order."""

    number: int
    rows: list[Row]


@dataclass(frozen=True)
class _Place:
    """An image of a shard."""

    shard: Shard
    position: int

    @property
    def item(self) -> Item:
        return self.shard.items[self.position]

    @property
    def mark(self) -> int:
        return self.shard.marks_at + self.position

    @property
    def is_last(self) -> bool:
        return self.position == len(self.shard.items) - 1


@dataclass(frozen=True)
class _Image:
    """One image after decoding, uint8 `[299, 299, 3]`, or why there is none; what DICOM results refer to; tags."""

    place: _Place
    sha256: str | None
    tensor: NDArray[np.uint8] | None
    error: BrainMRIError | None
    source: Source | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def images(self) -> NDArray[np.uint8]:
        """A batch of one, for `run_batch`."""
        assert self.tensor is not None  # noqa: S101 -- only what was decoded goes to the network
        return self.tensor[np.newaxis]


_Batch = Sequence[_Image]
_Outputs = Sequence[Output | InferenceFailed]


class Pipeline:
    """Scores shards, one after the other, and decodes the next while one ends.

    Args:
        predictor: Loaded and warm.
        sources: What reads the images.
        batch_size: Images in one inference, at least 1.
        decode_threads: At least 1.
        marks: One byte for each image of the shards under way.
        on_batch: Told after each batch: the shard's number, and how many images of it are done.
        on_shard: Gets the rows of each shard, once they are all there; in a thread, one call after the other.
        heat_maps: Takes the heat map of each image that is answered; none are made without.
        dicom: Takes the DICOM results of each image that is answered; none are made without, and with it an image that
            belongs to no study is a failed row.
        force: Answers also for DICOM objects that say they are not MRI of a head.
        tags: Keywords of the DICOM elements that rows tell.
    """

    def __init__(  # noqa: PLR0913 -- each has a name
        self,
        predictor: Predictor,
        sources: Sources,
        batch_size: int,
        decode_threads: int,
        *,
        marks: MutableSequence[int],
        on_batch: Callable[[int, int], None],
        on_shard: Callable[[ShardRows], None],
        heat_maps: HeatMapFolder | None = None,
        dicom: DicomFolder | None = None,
        force: bool = False,
        tags: Sequence[str] = (),
    ) -> None:
        self._predictor = predictor
        self._sources = sources
        self._batch_size = batch_size
        self._streams = predictor.runtime_info.streams
        # One, because members of an archive are read in their order.
        self._reader = Threads("read", 1)
        self._decoders = Threads("decode", decode_threads)
        self._network = Threads("infer", self._streams)
        self._answering = Threads("answer", 1)
        self._marks = marks
        self._on_batch = on_batch
        self._on_shard = on_shard
        self._heat_maps = heat_maps
        self._dicom = dicom
        self._force = force
        self._tags = tags
        self._rows: list[Row] = []

    async def run(self, shards: AsyncIterable[Shard]) -> None:
        """Scores shards until there are no more.

        What is not an image's own fault, such as a lack of memory, is raised.
        """
        ahead = _BATCHES_AHEAD * self._batch_size * self._streams
        with ExitStack() as threads:
            for kind in (self._reader, self._decoders, self._network, self._answering):
                threads.callback(kind.close)
            async with (
                aclosing(in_order(_places(shards), self._decoded, ahead)) as images,
                # One more than run, so that a stream finds its next batch waiting.
                aclosing(in_order(self._batches(images), self._inferred, self._streams + 1)) as batches,
            ):
                async for batch, outputs in batches:
                    await self._answering.run(self._answer, batch, outputs)

    async def _decoded(self, place: _Place) -> _Image:
        if place.item.member is None:
            load = self._sources.prepare(place.item)
        else:
            load = await self._reader.run(self._sources.prepare, place.item)
        return await self._decoders.run(self._decode, place, load)

    async def _batches(self, images: AsyncIterable[_Image]) -> AsyncGenerator[_Batch, None]:
        batch: list[_Image] = []
        decoded = 0
        async for image in images:
            batch.append(image)
            decoded += image.tensor is not None
            if decoded == self._batch_size or image.place.is_last:
                yield batch
                batch, decoded = [], 0

    async def _inferred(self, batch: _Batch) -> tuple[_Batch, _Outputs]:
        decoded = [image for image in batch if image.tensor is not None]
        return batch, await self._network.run(run_batch, self._predictor, decoded) if decoded else []

    def _decode(self, place: _Place, load: Callable[[], Loaded]) -> _Image:
        self._marks[place.mark] = BEGUN
        sha256, tags = None, dict[str, str]()
        try:
            image = load()
            sha256, options = image.sha256, ReadOptions(place.item.frame, self._force)
            if self._tags and isinstance(image.data, bytes):
                tags = elements_of(image.data, self._tags)
            if place.position in place.shard.crashed:
                raise ImageCrashed(place.shard.crashed[place.position])
            source = None if self._dicom is None else read_source(image.data, self._predictor.limits, options)
            return _Image(place, sha256, self._predictor.read(image.data, options).tensor, None, source, tags)
        except BrainMRIError as error:
            return _Image(place, sha256, None, error, tags=tags)

    def _answer(self, batch: _Batch, outputs: _Outputs) -> None:
        """Makes the rows of a batch; one call after the other, in the order of the images."""
        remaining, last = iter(outputs), batch[-1].place
        for image in batch:
            item = image.place.item
            try:
                row = self._answered(image, image.error or next(remaining))
            except BrainMRIError as error:
                row = failed(item, image.sha256, error, self._predictor.model, image.tags)
            self._rows.append(row)
            self._marks[image.place.mark] = DONE
        self._on_batch(last.shard.number, len(self._rows))
        if last.is_last:
            self._on_shard(ShardRows(last.shard.number, self._rows))
            self._rows = []

    def _answered(self, image: _Image, output: Output | BrainMRIError) -> Row:
        if isinstance(output, InferenceFailed):
            raise InferenceFailed("The network failed on this image, also when it ran on no other.")
        if isinstance(output, BrainMRIError):
            raise output
        try:
            prediction = self._predictor.answer(output, 0, {})
        except ValueError as error:
            raise InferenceFailed("The network's answer for this image is not a number.") from error
        item = image.place.item
        if self._heat_maps is not None:
            self._heat_maps.write(item.id, self._predictor.heat_map(output, 0))
        if self._dicom is not None:
            self._write_dicom(self._dicom, image, output, prediction)
        return answered(item, image.sha256 or "", prediction, image.tags)

    def _write_dicom(self, dicom: DicomFolder, image: _Image, output: Output, prediction: Prediction) -> None:
        assert image.source is not None  # noqa: S101 -- an image without a source is a failed row
        if self._predictor.explains:
            prediction = self._predictor.explain(prediction, output, 0, image.images[0], Explain())
        dicom.write(file_stem(image.place.item.id), image.source, prediction)


async def _places(shards: AsyncIterable[Shard]) -> AsyncGenerator[_Place, None]:
    async for shard in shards:
        for position in range(len(shard.items)):
            yield _Place(shard, position)
