"""The slices behind the paths that a command names: files, folders, a DICOMDIR, NIfTI volumes."""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from brainmri.errors import BrainMRIError, ImageUnreadable
from brainmri.imaging import HEAD_BYTES, FrameOf, Picture, ReadOptions, files_of_directory, format_of, frames_of
from brainmri.imaging.contents import digest, elements_of
from brainmri.imaging.limits import DecodeLimits
from brainmri.imaging.nifti import Volume
from brainmri.imaging.signatures import DICOM, NIFTI

DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class NamedSlice:
    """One slice to answer for.

    Attributes:
        file: Which holds it.
        frame: Its place in the file, and digests of what it belongs to.
        load: Gives the file's bytes, or its picture if it is one of many in a volume; raises BrainMRIError.
        options: How the bytes are read.
        told: The elements that the user asked for, by keyword.
    """

    file: Path
    frame: FrameOf
    load: Callable[[], bytes | Picture]
    options: ReadOptions
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a command wants of every file.

    Attributes:
        options: How it is read; a frame that is asked for is the only one taken of it.
        step_mm: Distance of the slices that are taken of a NIfTI volume, in millimetres.
        keywords: Elements of DICOM objects to tell.
    """

    options: ReadOptions
    step_mm: float
    keywords: Sequence[str] = ()


def named_slices(
    paths: list[Path], wanted: Wanted, limits: DecodeLimits
) -> Iterator[NamedSlice | tuple[Path, BrainMRIError]]:
    """Yields the slices of files, of all files of folders that are images, and of those that a DICOMDIR lists.

    A file that holds none gives its error in place of slices.

    Args:
        paths: As named.
        wanted: Of every file.
        limits: What slices of volumes to refuse.
    """
    for path in paths:
        try:
            files = list(_files(path))
        except BrainMRIError as error:
            yield path, error
            continue
        for file in files:
            try:
                yield from _slices(file, wanted, limits)
            except BrainMRIError as error:
                yield file, error


def _files(path: Path) -> Iterator[Path]:
    """Yields a file, the images of a folder in the order of their names, or what a DICOMDIR lists."""
    if path.is_dir():
        found = sorted(_images_below(path))
        if not found:
            raise ImageUnreadable("The folder holds no image. Name a folder of images, DICOM objects or NIfTI volumes.")
        yield from found
        return
    listed = files_of_directory(_read(path)) if path.name.upper() == DICOMDIR else None
    if listed is None:
        yield path
        return
    for name in listed:
        file = path.parent / name
        # Some systems show the names of a CD in lower case.
        yield file if file.exists() else path.parent / name.lower()


def _images_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if name.upper() != DICOMDIR and file.is_file() and format_of(_head(file)) is not None:
                yield file


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""


def _slices(file: Path, wanted: Wanted, limits: DecodeLimits) -> Iterator[NamedSlice]:
    options = wanted.options
    kind = format_of(_head(file))
    if kind == NIFTI:
        yield from _of_volume(file, wanted, limits)
    elif kind != DICOM:
        yield NamedSlice(file, FrameOf(options.frame), partial(_read, file), options)
    else:
        data = _read(file)
        frames, told = frames_of(io.BytesIO(data)), elements_of(data, wanted.keywords)
        if options.frame is not None:
            frames = [replace(frames[0], frame=options.frame)]
        for frame in frames:
            yield NamedSlice(file, frame, lambda: data, ReadOptions(frame.frame, options.force), told)


def _of_volume(file: Path, wanted: Wanted, limits: DecodeLimits) -> Iterator[NamedSlice]:
    frame = wanted.options.frame
    volume = Volume(file)
    # Told apart by what it is called: a volume has no identifier of its own.
    series = digest(file.absolute())
    for number in volume.numbers(wanted.step_mm) if frame is None else [frame]:
        load = partial(volume.picture, number, limits)
        yield NamedSlice(file, FrameOf(number, None, series), load, wanted.options)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"The file cannot be read: {error.strerror}.") from error
