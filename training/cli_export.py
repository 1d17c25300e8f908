"""The command that exports a released bundle for every runtime."""

from pathlib import Path
from typing import Annotated

import typer

from training.console import DEFAULT_DATA, DEFAULT_WORK, THREADS, BundleFolder, Data, Threads, Work, bar, say
from training.data.workspace import Workspace


def export_runtimes(
    bundle: BundleFolder,
    data: Data = DEFAULT_DATA,
    work: Work = DEFAULT_WORK,
    out: Annotated[Path, typer.Option(help="Receives the bundle with every runtime.")] = DEFAULT_WORK / "exports",
    only: Annotated[list[str] | None, typer.Option(help="Such as onnx-int8; give it again for more.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Training images that tell the ranges of int8.")] = 300,
    threads: Threads = THREADS,
) -> None:
    """Export OpenVINO, ONNX and TFLite from a released bundle, calibrate them and compare them with the reference.

    BRAINMRI_BUNDLES=runs/exports BRAINMRI_RUNTIME=onnx brainmri serve then serves one of them. Research use only.
    """
    from training.data.outliers import load_outliers
    from training.release.export_figures import Held
    from training.release.export_runtimes import EXPORTS, Job, export_runtimes
    from training.release.export_speed import processor
    from training.release.pipeline import bundle_of_split

    if unknown := set(only or ()) - set(EXPORTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose among {', '.join(EXPORTS)}.")
    wanted = [choice for choice in EXPORTS if not only or choice in only]
    space = Workspace(work)
    held = Held(space.slices(data, bar("decoding")), load_outliers(data))
    source = bundle_of_split(bundle, space)
    job = Job(source, wanted, out / source.contract.name, threads, space.outputs, images)
    written, text = export_runtimes(job, held, processor(threads), say)
    (out / "runtimes.md").write_text(text + "\n")
    say(text)
    say(f"{written.contract.tag} in {written.folder}; the table in {out / 'runtimes.md'}")
