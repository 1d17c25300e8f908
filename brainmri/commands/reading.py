"""Options of the commands that read images: which slices of a file, and which elements are told."""

from typing import Annotated

import typer

from brainmri.imaging.contents import require_keywords

StepOption = Annotated[
    float,
    typer.Option(help="Distance of the axial slices taken of a NIfTI volume, in millimetres.", min=0.1, max=100),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Answer for DICOM that is no MRI of a head too.")]
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
