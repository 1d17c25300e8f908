"""A whole load test, `python -m loadtests.run smoke`: starts the service unless --host names one, sends, judges."""

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests import check_slo
from loadtests.plans import BadPlan, Stage, make_plan
from loadtests.server import ROOT, ServerFailed, serving
from loadtests.target import host_of

LOCUSTFILE = "loadtests/locustfile.py"

_STOP_S = 60
_AROUND_S = 600
"""What Locust may take besides the stages: workers that have to come, the first answers, the last ones."""


@dataclass(frozen=True)
class Profile:
    """One of the ready-made load tests.

    Attributes:
        shape: Of the load.
        check: Flags of `check_slo`.
        user: Who sends it, unless the caller names a user.
    """

    shape: str
    check: tuple[str, ...] = ()
    user: str = "MixedUser"


PROFILES = {
    "smoke": Profile("constant", user="EvenUser"),
    "steps": Profile("steps", ("--up-to", "20")),
    # The queue of the peak has to empty before the time after it is judged.
    "spike": Profile("spike", ("--up-to", "10", "--settle", "10")),
    "soak": Profile("soak"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one profile and returns the exit status: of `check_slo`, or of Locust where the run could not be made."""
    options, for_locust = _parser().parse_known_args(arguments)
    profile = PROFILES[options.profile]
    try:
        plan = make_plan(profile.shape, options.levels, options.stage_seconds)
    except BadPlan as error:
        sys.stderr.write(f"{error}\n")
        return check_slo.UNUSABLE
    folder: Path = options.output or Path("runs/loadtests") / options.profile
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "record.json"
    record.unlink(missing_ok=True)
    try:
        with _service(options.host, options.grpc_host, folder) as (host, grpc_host):
            command = _locust(profile, options, host, grpc_host, folder, for_locust)
            sys.stdout.write(f"{shlex.join(['python', *command[1:]])}\n")
            sys.stdout.flush()
            status = _run(command, plan)
    except ServerFailed as error:
        sys.stderr.write(f"{error}\n")
        return check_slo.UNUSABLE
    if options.print_record and record.exists():
        sys.stdout.write(record.read_text())
    check = [str(record), *profile.check, *shlex.split(options.check)]
    judged = check_slo.main(check) if record.exists() else check_slo.UNUSABLE
    return judged or status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.run",
        description="Runs a load test and judges it. Flags that are not listed go to Locust, such as --loop closed,"
        " --images FOLDER, --tags grpc, --allow-remote.",
        allow_abbrev=False,
    )
    parser.add_argument("profile", choices=PROFILES)
    parser.add_argument("--host", default="", help="URL of a running service; without it one is started")
    parser.add_argument("--grpc-host", default="", help="its gRPC address; by default port 3001 of the host")
    parser.add_argument("--levels", default="", help="load of the stages, such as 5,10,20")
    parser.add_argument("--stage-seconds", type=float, default=0, help="length of a stage, of all of a soak")
    parser.add_argument("--check", default="", help="flags of check_slo, as one text: '--up-to 40 --within-ms 300'")
    parser.add_argument("--output", type=Path, help="folder for everything; runs/loadtests/PROFILE by default")
    parser.add_argument(
        "--print-record",
        action="store_true",
        help="print the record too, as one line of JSON: where only the log can be fetched, the report is made of it",
    )
    return parser


def _locust(
    profile: Profile, options: argparse.Namespace, host: str, grpc_host: str, folder: Path, more: Sequence[str]
) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "--only-summary"]
    command += ["--host", host, "--grpc-host", grpc_host, "--shape", profile.shape]
    # By default one failed request makes Locust fail. Whether it is one too many, `check_slo` decides.
    command += ["--exit-code-on-error", "0"]
    if options.levels:
        command += ["--levels", options.levels]
    if options.stage_seconds:
        command += ["--stage-seconds", str(options.stage_seconds)]
    folder = folder.absolute()
    command += ["--record", str(folder / "record.json"), "--csv", str(folder / "locust")]
    command += ["--json-file", str(folder / "locust")]
    users = () if any(flag.endswith("User") for flag in more) else (profile.user,)
    return [*command, "--html", str(folder / "locust.html"), *more, *users]


def _run(command: Sequence[str], plan: Sequence[Stage]) -> int:
    """Runs Locust, no longer than the plan allows; its exit status, 1 if it had to be ended."""
    process = subprocess.Popen(command, cwd=ROOT)  # noqa: S603 -- Locust, with the caller's own flags
    try:
        return process.wait(sum(stage.seconds for stage in plan) + _AROUND_S)
    except subprocess.TimeoutExpired:
        sys.stderr.write("Locust did not end in time.\n")
        return 1
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(_STOP_S)


@contextmanager
def _service(host: str, grpc_host: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yields the URL and the gRPC address of the service: the given one, or one that is started for the test."""
    if host:
        yield host, grpc_host or f"{host_of(host)}:3001"
        return
    with (
        tempfile.TemporaryDirectory(prefix="brainmri-load-test-") as home,
        serving(Path(home), folder / "server.log", {}) as service,
    ):
        yield f"http://127.0.0.1:{service.http_port}", f"127.0.0.1:{service.grpc_port}"


if __name__ == "__main__":
    sys.exit(main())
