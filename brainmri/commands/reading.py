"""What the commands that read images share: options, and what is said of a result that cannot be written."""

from pathlib import Path
from typing import Annotated

import typer

from brainmri.errors import BrainMRIError
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


def unwritable(path: Path, error: OSError) -> BrainMRIError:
    """Returns the error of a result that cannot be written."""
    return BrainMRIError(f"{path} cannot be written: {error.strerror}. Name a file in a folder of yours.")
