"""The command `brainmri dicom listen`: a DICOM node that answers slices with reports."""

import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from brainmri.commands.opened import open_predictor
from brainmri.dicom.source import require_writer
from brainmri.errors import InvalidSettings
from brainmri.observe import logs
from brainmri.settings import load_settings

dicom = typer.Typer(help="DICOM nodes.", no_args_is_help=True)

_STOPPED_LATE = 1
_GLANCE_S = 0.2


@dicom.callback()
def group() -> None:
    """DICOM nodes."""


@dicom.command()
def listen(  # noqa: PLR0913 -- the options of a command
    *,
    allow: Annotated[
        list[str] | None, typer.Option(help="AE title that may call; may be given several times.", show_default=False)
    ] = None,
    spool: Annotated[
        Path, typer.Option(help="Folder for what was accepted and not delivered; it survives a kill.")
    ] = Path("spool"),
    to: Annotated[
        str | None, typer.Option(help="Storage SCP for the results, AET@HOST:PORT.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results instead.", show_default=False)] = None,
    aet: Annotated[str, typer.Option(help="AE title of this node.")] = "BRAINMRI",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 accepts other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port.", min=0, max=65535)] = 11112,
    max_objects: Annotated[
        int, typer.Option(help="Most objects that wait; more are put off with status A700.", min=1, max=100_000)
    ] = 256,
    max_associations: Annotated[int, typer.Option(help="Most associations at a time.", min=1, max=64)] = 4,
) -> None:
    """Take MR slices by C-STORE, and send a report and a capture of each to a node or a folder."""
    require_writer()
    # An extra, and slow to import.
    from brainmri.dicom.destination import FolderDestination, NodeDestination  # noqa: PLC0415
    from brainmri.dicom.listen import Listener, Node  # noqa: PLC0415
    from brainmri.dicom.spool import Spool  # noqa: PLC0415

    if (to is None) == (out is None):
        raise InvalidSettings("Name either a node with --to AET@HOST:PORT or a folder with --out.")
    settings = load_settings()
    node = Node(aet, host, port, tuple(allow or ()), max_associations)
    destination = FolderDestination(out) if out is not None else NodeDestination.of(to or "", aet)
    logs.configure(settings.log_format, settings.log_level)
    # Its lines quote what peers send.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    predictor = open_predictor(settings)
    predictor.warm_up()
    listener = Listener(node, predictor, Spool(spool, max_objects), destination)
    asked_to_end: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # An event may not be set in a signal's handler: its lock may be held by the code that was interrupted.
        signal.signal(number, lambda number, _: asked_to_end.append(number))
    actual = listener.start()
    logging.getLogger(__name__).info("Listening as %s at %s:%d with %s", aet, host, actual, predictor.contract.tag)
    while not asked_to_end and not listener.stopping.wait(_GLANCE_S):
        pass
    if not listener.stop(settings.shutdown_grace_s):
        raise typer.Exit(_STOPPED_LATE)
