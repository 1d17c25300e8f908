"""Shows that no test depends on the clock of a busy machine: `python -m tests.busy [--passes 3] [PYTEST ARGUMENT...]`.

Runs pytest several times while a process for each CPU computes without a pause; exit status 0 if every pass did well.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_COMPUTE = "while True: pass"


def main(arguments: list[str] | None = None) -> int:
    """Returns how many passes failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.busy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1, help="processes that compute; one a CPU")
    options, for_pytest = parser.parse_known_args(arguments)
    command = [sys.executable, "-m", "pytest", "-q", *(for_pytest or ["-m", "not slow"])]
    failed = 0
    with _computing(options.busy):
        for number in range(1, options.passes + 1):
            status = subprocess.run(command, check=False).returncode
            failed += status != 0
            sys.stdout.write(f"Pass {number} of {options.passes} beside {options.busy} busy processes: {status}\n")
            sys.stdout.flush()
    return failed


@contextmanager
def _computing(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", _COMPUTE]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
