"""What the commands that read images share: options, and what is said of a result that cannot be written."""

from pathlib import Path
from typing import Annotated

import typer

from brainmri.errors import BrainMRIError, SourceUnreadable
from brainmri.imaging.contents import require_keywords

StepOption = Annotated[
    float,
    typer.Option(help="Distance of the axial slices taken of a NIfTI volume, in millimetres.", min=0.1, max=100),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Answer for DICOM that is not an MRI of a head too.")]
TagsOption = Annotated[
    str,
    typer.Option(help="DICOM elements to tell of each slice, such as StudyDate,SliceLocation; else none."),
]


def keywords_of(tags: str) -> tuple[str, ...]:
    """Returns the keywords of DICOM elements that a user names, each once.

    Raises:
        MalformedRequest: See `require_keywords`.
    """
    keywords = tuple(dict.fromkeys(keyword.strip() for keyword in tags.split(",") if keyword.strip()))
    require_keywords(keywords)
    return keywords


def unlisted(name: str, error: OSError) -> BrainMRIError:
    """Returns the error of an input that fails while its files are listed; it names the folder that did."""
    failed = error.filename or name
    return SourceUnreadable(
        f"{failed} cannot be read: {error.strerror or error}. Check its permissions, or leave it out."
    )


def unwritable(path: Path, error: OSError) -> BrainMRIError:
    """Returns the error of a result that cannot be written."""
    return BrainMRIError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.")
