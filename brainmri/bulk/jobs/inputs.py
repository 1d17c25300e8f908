"""The images of a job, named as its owner knows them: no path of this server is ever in a row."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from brainmri.blocking import Stop
from brainmri.bulk.archives.archive import ArchiveLimits, is_archive_name, open_archive
from brainmri.bulk.chosen import Choice
from brainmri.bulk.inputs import Inputs, Listing, file_head
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.jobs.record import Source
from brainmri.bulk.place import Place
from brainmri.bulk.uploads import UPLOADED, uploaded_items
from brainmri.errors import MalformedRequest, SourceUnreadable
from brainmri.imaging import FrameOf


class UploadInputs:
    """The members of an uploaded archive; a `Listing`.

    Args:
        path: Of the archive.
        limits: What archives to refuse.
        stop: Ends the listing.
        is_form: Whether every member is meant to be an image, whatever its name.
    """

    def __init__(self, path: Path, limits: ArchiveLimits, stop: Stop, *, is_form: bool) -> None:
        self._path = path
        self._limits = limits
        self._stop = stop
        self._is_form = is_form
        self._choice = Choice()

    @property
    def left_out(self) -> Counter[str]:
        """See `Listing`."""
        return self._choice.left_out

    def __iter__(self) -> Iterator[Item]:
        """Yields every image in the archive's order.

        Raises:
            ArchiveRefused: See `open_archive`.
            ArchiveTooLarge: More images than an archive may have entries.
        """
        with self._path.open("rb") as file, open_archive(file, self._limits, self._stop) as archive:
            most = self._limits.max_members
            yield from uploaded_items(archive, self._choice, most, str(self._path), is_form=self._is_form)


class RootInputs:
    """A folder, an image or an archive below the input root; a `Listing`.

    Args:
        root: The input root, resolved.
        path: What is below it, resolved; see `resolved_below`.
        limits: What archives to refuse.
        stop: Ends the listing.
    """

    def __init__(self, root: Path, path: Path, limits: ArchiveLimits, stop: Stop) -> None:
        self._inputs = Inputs((str(path),), limits, stop, UPLOADED)
        self._root = root

    @property
    def left_out(self) -> Counter[str]:
        """See `Listing`."""
        return self._inputs.left_out

    def __iter__(self) -> Iterator[Item]:
        """Yields every image, named from the root on, names sorted.

        Raises:
            ArchiveRefused: See `open_archive`.
        """
        for found in self._inputs:
            # Nothing is told of a file to which a link leads out of the root; its row says so.
            is_below = Path(found.location).resolve().is_relative_to(self._root)
            item = found if is_below else found.of(FrameOf())
            path = item.path.removeprefix(f"{self._root}/")
            yield replace(item, id=item_id(path, item.frame), path=path)


def resolved_below(root: Path | None, path: str) -> tuple[Path, Path]:
    """Returns the root and what a caller names below it, both resolved.

    Raises:
        MalformedRequest: There is no root; or the path does not exist, leads out of it, or holds no images by its name.
    """
    root = require_root(root)
    # What leads out is not told from what is not there: or else callers could look around.
    missing = MalformedRequest(
        f"There is no {path[:200]!r} below the server's input folder. Name a folder, an image or an archive in it,"
        " relative to that folder."
    )
    if not path or "\0" in path or Path(path).is_absolute():
        raise missing
    try:
        found = (root / path).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise missing from error
    if not found.is_relative_to(root):
        raise missing
    if not found.is_dir() and not is_archive_name(found.name) and not _is_image(found):
        raise MalformedRequest(f"{path[:200]!r} is not a folder, image or archive by its name. Name one of these.")
    return root, found


def _is_image(path: Path) -> bool:
    return path.is_file() and Choice().takes(path.name, partial(file_head, Place.of(str(path))))


def require_root(root: Path | None) -> Path:
    """Returns the input root, resolved.

    Raises:
        MalformedRequest: There is none.
    """
    if root is None:
        raise MalformedRequest(
            "This server takes no paths. Upload an archive, or ask whoever runs it to set BRAINMRI_JOBS_INPUT_ROOT."
        )
    return root.resolve()


def job_inputs(source: Source, upload: Path, root: Path | None, limits: ArchiveLimits, stop: Stop) -> Listing:
    """Returns the inputs of a job.

    Args:
        source: What was asked.
        upload: Its archive, if it was uploaded.
        root: The input root.
        limits: What archives to refuse.
        stop: Ends the listing.

    Raises:
        MalformedRequest: See `resolved_below`.
    """
    if source.path is None:
        return UploadInputs(upload, limits, stop, is_form=source.is_form)
    return RootInputs(*resolved_below(root, source.path), limits, stop)


def require_below(root: Path, path: Path) -> None:
    """Refuses a file that a link takes out of the root; call it whenever one is read.

    Raises:
        SourceUnreadable: It does.
    """
    if not path.resolve().is_relative_to(root):
        raise SourceUnreadable("A link leads out of the server's input folder. Name files themselves.")
