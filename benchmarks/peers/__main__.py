"""Other model servers and ours with the same weights, the same client and the same machine.

python -m benchmarks.peers prepare             makes the environments, once
python -m benchmarks.peers measure --rounds 3  measures what the results lack
python -m benchmarks.peers report              writes the tables and the plot again
python -m benchmarks.peers turns --only MLServer --only KServe    runs these and ours all at once, loaded in turns
"""

import signal
import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from benchmarks.load import load_process
from benchmarks.options import DEFAULT_BUNDLE, BundleFolder, Count, Side, WriteTo
from benchmarks.peers.environments import prepare as prepare_environment
from benchmarks.peers.measure import Setting, measure_reference, measure_system, requests
from benchmarks.peers.plot import plot
from benchmarks.peers.results import REFERENCE, Load, Results
from benchmarks.peers.systems import OURS, PEERS, System
from benchmarks.peers.tables import add_tables
from benchmarks.peers.turns import rows, take_turns
from benchmarks.pictures import pictures
from benchmarks.reference import reference_process
from benchmarks.report import DEFAULT_FOLDER, Report, table
from brainmri.settings import available_cpus

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

Only = Annotated[list[str] | None, typer.Option(help="Part of a system's name; give it again for more.")]
DEFAULT_OUTPUT = DEFAULT_FOLDER / "peers"


@app.command()
def prepare(only: Only = None) -> None:
    """Make the environment of each peer below the user's cache folder."""
    for system in _chosen(only):
        if system.module:
            typer.echo(f"{system.name}: {prepare_environment(system)}", err=True)


@app.command()
def measure(  # noqa: PLR0913, PLR0917 -- the options of a command
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds that there are to be in the end.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of one load.")] = 3,
    side: Side = 224,
    count: Count = 64,
    runtime: Annotated[str, typer.Option(help="Of the peers: openvino or tensorflow.")] = "openvino",
    minutes: Annotated[float, typer.Option(min=0.1, help="No system is started after so long.")] = 600,
    only: Only = None,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_OUTPUT,
) -> None:
    """Measure the rounds that the results lack; interrupted, it goes on where it was."""
    _leave_on_sigterm()
    end = time.monotonic() + 60 * minutes
    results = Results(output.with_suffix(".jsonl"))
    done = {row.key for row in results.rows() if not row.error}
    source, files = pictures(count, side)
    systems = _chosen(only)
    typer.echo(f"{count} {source}", err=True)
    with reference_process(bundle) as reference, load_process() as load:
        setting = Setting(bundle, available_cpus(), seconds, files, requests(systems, files, reference))
        for number in range(rounds):
            if (REFERENCE, "openvino", number) not in done:
                results.add(measure_reference(reference, setting, number))
            for system in systems:
                kind = system.runs_on(runtime)
                if (system.name, kind, number) in done or time.monotonic() > end:
                    continue
                row = measure_system(system, kind, number, setting, load)
                results.add(row)
                typer.echo(
                    f"round {number + 1}: {system.name} on {kind}: {row.error or _headline(row.loads)}", err=True
                )


@app.command()
def report(output: WriteTo = DEFAULT_OUTPUT) -> None:
    """Write the tables and the plot of what was measured."""
    rows = Results(output.with_suffix(".jsonl")).rows()
    if not rows:
        raise typer.BadParameter(f"{output.with_suffix('.jsonl')} holds nothing. Run `measure` first.")
    found = Report("peers", {"rounds": str(max(row.round for row in rows) + 1)})
    add_tables(found, rows)
    plot(rows, output.with_suffix(".png"))
    typer.echo(found.markdown())
    typer.echo(f"Written: {' '.join(map(str, found.write(output)))} {output.with_suffix('.png')}", err=True)


@app.command()
def turns(
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often each kind of load comes.")] = 9,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Length of one load.")] = 2,
    runtime: Annotated[str, typer.Option(help="Of the peers: openvino or tensorflow.")] = "tensorflow",
    only: Only = None,
    bundle: BundleFolder = DEFAULT_BUNDLE,
    output: WriteTo = DEFAULT_FOLDER / "peers-in-turns",
) -> None:
    """Compare with peers on a machine that is never quiet: all run at once and are loaded in turns."""
    _leave_on_sigterm()
    systems = [OURS, *(system for system in _chosen(only) if system.module)]
    source, files = pictures(64, 224)
    with reference_process(bundle) as reference:
        items = requests(systems, files, reference)
    with load_process() as load:
        setting = Setting(bundle, available_cpus(), seconds, files, items)
        seen = take_turns(systems, runtime, rounds, setting, load)
    found = Report(
        "peers",
        {"peers on": runtime, "images": f"{len(files)} {source}", "rounds": f"{rounds} of {seconds:g} s"},
        {"loads": {f"{system}, {kind}": [asdict(load) for load in loads] for (system, kind), loads in seen.items()}},
    )
    found.add(*table(["load", "system", "median (range)", "ours / theirs, by round", "failed"], rows(seen, OURS.name)))
    found.publish(output)


def _leave_on_sigterm() -> None:
    """Makes SIGTERM leave every `with` block, so that no server stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _chosen(only: list[str] | None) -> list[System]:
    wanted = [part.lower() for part in only or ()]
    return [one for one in (OURS, *PEERS) if not wanted or any(part in one.name.lower() for part in wanted)]


def _headline(loads: dict[str, Load]) -> str:
    return ", ".join(f"{name}: {load.images_per_s:.0f}/s" for name, load in loads.items())


if __name__ == "__main__":
    app()
