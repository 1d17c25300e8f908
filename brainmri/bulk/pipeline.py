"""Images to rows in one process: a bounded pool decodes ahead while the network runs on full batches.

Batches never reach across shards, and are the same whatever was decoded first: results do not depend on timing. As
many run at a time as the runtime has streams; OpenVINO's streams give the same numbers to the last bit. What comes
before and after the network has threads of its own, so that the network never waits for either.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmri.batching.batch_run import run_batch
from brainmri.bulk.heat_maps import HeatMapFolder
from brainmri.bulk.items import Item
from brainmri.bulk.rows import Row, answered, failed
from brainmri.bulk.sources import Sources
from brainmri.errors import BrainMRIError, ImageCrashed, InferenceFailed
from brainmri.model.predictor import Predictor
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
class _Image:
    """One image after decoding, uint8 `[299, 299, 3]`, or why there is none."""

    shard: Shard
    position: int
    sha256: str | None
    tensor: NDArray[np.uint8] | None
    error: BrainMRIError | None

    @property
    def is_last(self) -> bool:
        return self.position == len(self.shard.items) - 1

    @property
    def images(self) -> NDArray[np.uint8]:
        """A batch of one, for `run_batch`."""
        assert self.tensor is not None  # noqa: S101 -- only what was decoded goes to the network
        return self.tensor[np.newaxis]


Take = Callable[[bool], Shard | None]
"""Gives the next shard: `take(True)` waits for it, and None is the end; `take(False)` returns None when none waits."""


class Pipeline:
    """Scores shards, one after the other, and decodes the next while one ends.

    Args:
        predictor: Loaded and warm.
        sources: What reads the images.
        batch_size: Images in one inference, at least 1.
        decode_threads: At least 1.
        marks: One byte for each image of the shards under way.
        on_batch: Told after each batch: the shard's number, and how many images of it are done.
        on_shard: Gets the rows of each shard, once they are all there.
        heat_maps: Takes the heat map of each image that is answered; none are made without.
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
    ) -> None:
        self._predictor = predictor
        self._sources = sources
        self._batch_size = batch_size
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        streams = predictor.runtime_info.streams
        self._network = ThreadPoolExecutor(streams, thread_name_prefix="infer")
        self._answering = ThreadPoolExecutor(1, thread_name_prefix="answer")
        # One more than run, so that a stream finds its next batch waiting.
        self._under_way = streams + 1
        self._ahead = _BATCHES_AHEAD * batch_size * streams
        self._marks = marks
        self._on_batch = on_batch
        self._on_shard = on_shard
        self._heat_maps = heat_maps
        self._rows: list[Row] = []

    def run(self, take: Take) -> None:
        """Scores shards until `take` says that there are no more.

        What is no image's own fault, such as a lack of memory, is raised.
        """
        batch: list[_Image] = []
        under_way: deque[Future[None]] = deque()
        for image in self._decoded(take):
            batch.append(image)
            decoded = [other for other in batch if other.tensor is not None]
            if len(decoded) < self._batch_size and not image.is_last:
                continue
            if len(under_way) == self._under_way:
                under_way.popleft().result()
            outputs = self._network.submit(self._infer, decoded)
            under_way.append(self._answering.submit(self._answer, batch, outputs))
            batch = []
        for last in under_way:
            last.result()

    def _infer(self, images: Sequence[_Image]) -> list[Output | InferenceFailed]:
        return run_batch(self._predictor, images) if images else []

    def _decoded(self, take: Take) -> Iterator[_Image]:
        """Yields the images of all shards in order, keeping the pool busy with those that follow."""
        ahead: deque[Future[_Image]] = deque()
        upcoming: Iterator[tuple[Shard, int]] = iter(())
        while True:
            while len(ahead) < self._ahead:
                following = next(upcoming, None)
                if following is not None:
                    ahead.append(self._begin(*following))
                    continue
                # Waits for another shard only when nothing else is left to do.
                shard = take(not ahead)
                if shard is None:
                    break
                upcoming = ((shard, position) for position in range(len(shard.items)))
            if not ahead:
                return
            yield ahead.popleft().result()

    def _begin(self, shard: Shard, position: int) -> Future[_Image]:
        load = self._sources.prepare(shard.items[position])
        return self._decoders.submit(self._decode, shard, position, load)

    def _decode(self, shard: Shard, position: int, load: Callable[[], bytes]) -> _Image:
        self._marks[shard.marks_at + position] = BEGUN
        sha256 = None
        try:
            data = load()
            sha256 = hashlib.sha256(data).hexdigest()
            if position in shard.crashed:
                raise ImageCrashed(shard.crashed[position])
            return _Image(shard, position, sha256, self._predictor.read(data).tensor, None)
        except BrainMRIError as error:
            return _Image(shard, position, sha256, None, error)

    def _answer(self, images: Sequence[_Image], outputs: Future[list[Output | InferenceFailed]]) -> None:
        """Makes the rows of a batch once the network is done; one call after the other, in the order of the images."""
        remaining, last = iter(outputs.result()), images[-1]
        for image in images:
            try:
                row = self._answered(image, image.error or next(remaining))
            except BrainMRIError as error:
                item = image.shard.items[image.position]
                row = failed(item.id, item.path, image.sha256, error, self._predictor.model)
            self._rows.append(row)
            self._marks[image.shard.marks_at + image.position] = DONE
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
        item = image.shard.items[image.position]
        if self._heat_maps is not None:
            self._heat_maps.write(item.id, self._predictor.heat_map(output, 0))
        return answered(item.id, item.path, image.sha256 or "", prediction)
