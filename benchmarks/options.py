"""Options that several benchmarks have in common."""

from pathlib import Path
from typing import Annotated

import typer

from loadtests.server import ROOT

BundleFolder = Annotated[Path, typer.Option(help="The bundle to serve.")]
Count = Annotated[int, typer.Option(min=4, max=1000, help="How many different images.")]
WriteTo = Annotated[Path, typer.Option(help="Where to write, without suffix.")]
Side = Annotated[int, typer.Option(min=64, max=2048, help="Longer side of the JPEG files, in pixels.")]

DEFAULT_BUNDLE = ROOT / "models" / "brain_mri_xception"
