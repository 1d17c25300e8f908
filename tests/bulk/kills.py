"""Kills `brainmri score` at random moments and continues it, until it is done; then the result must be as ever.

`python -m tests.bulk.kills --times 100` does it a hundred times; the test suite does it five times.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.bulk.stand_in import BLACK, BLUE, GREEN, RED, picture
from tests.tiny import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
IMAGES, SHARD = 400, 8
_MOST_S = 300


@dataclass
class Bench:
    """What is scored again and again.

    Attributes:
        folder: Holds everything.
    """

    folder: Path

    def prepare(self) -> None:
        """Writes a bundle, half of the images as files and half in a zip, and some of both damaged."""
        write_tiny_bundle(self.folder / "models" / "brain_mri_xception", self.folder, novelty_threshold=1.0)
        colours = [RED, GREEN, BLUE, BLACK]
        (self.folder / "scans").mkdir()
        with zipfile.ZipFile(self.folder / "scans.zip", "w") as archive:
            for number in range(IMAGES // 2):
                data = b"damaged" if number % 17 == 3 else picture(colours[number % 4])
                (self.folder / "scans" / f"{number:04d}.png").write_bytes(data)
                archive.writestr(f"{number:04d}.png", data)

    @property
    def environment(self) -> dict[str, str]:
        """Of the command."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BENTOML_HOME": str(self.folder / "home"),
            "BRAINMRI_BUNDLES": str(self.folder / "models"),
            "BRAINMRI_THREADS": "1",
        }

    @contextmanager
    def started(self, out: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The command under way, in a process group of its own, which is gone afterwards."""
        command = [sys.executable, "-m", "brainmri", "score", "scans", "scans.zip", "--out", out, "--resume"]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--shard-size", str(SHARD)],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def parts(self, out: str) -> int:
        """Returns how many shards are stored."""
        return len(list((self.folder / out / "parts").glob("*.parquet")))

    def rows(self, out: str) -> pa.Table:
        """Returns the results without the times, of a run that says that it is done."""
        assert (self.folder / out / "_SUCCESS").is_file()
        assert not list((self.folder / out).rglob("*.tmp"))
        return pq.read_table(self.folder / out / "results.parquet").drop_columns(["scored_at"])


def kill_and_resume(bench: Bench, times: int, seed: int) -> int:
    """Kills runs `times` times, compares the result of each that gets to its end, and of the last one.

    Returns:
        How many runs were compared.
    """
    generator = random.Random(seed)  # noqa: S311 -- moments, not secrets
    with bench.started("calm") as process:
        assert process.wait(_MOST_S) == 0
    calm = bench.rows("calm")
    assert len(calm) == IMAGES
    killed = compared = 0
    while killed < times:
        killed += _run_until_killed(bench, generator)
        if (bench.folder / "out" / "_SUCCESS").is_file():
            compared += _compare_finished(bench, calm)
            sys.stderr.write(f"{killed} kills, {compared} finished runs\n")
    with bench.started("out") as process:
        assert process.wait(_MOST_S) == 0
    return compared + _compare_finished(bench, calm)


def _run_until_killed(bench: Bench, generator: random.Random) -> bool:
    """Continues the run, and kills it at a moment of one of its phases; False if it was done before."""
    stored, total = bench.parts("out"), IMAGES // SHARD
    # What only has to be joined may come to its end now and then, or else none ever would.
    phases = ["start", "scoring", "scoring", "scoring", "joining"] if stored < total else ["start", "end"]
    phase = generator.choice(phases)
    wanted = {"start": 0, "scoring": min(stored + generator.randint(1, 12), total)}.get(phase, total)
    delay_s = {"start": generator.uniform(0, 4), "end": _MOST_S}.get(phase, generator.expovariate(20))
    with bench.started("out") as process:
        deadline = time.monotonic() + _MOST_S
        while bench.parts("out") < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        try:
            assert process.wait(delay_s) == 0, "The command failed; see the log."
        except subprocess.TimeoutExpired:
            # Alone, so that its child has to notice; or with it.
            (os.kill if generator.random() < 0.5 else os.killpg)(process.pid, signal.SIGKILL)
            process.wait()
            return True
    return False


def _compare_finished(bench: Bench, calm: pa.Table) -> int:
    assert bench.rows("out").equals(calm)
    shutil.rmtree(bench.folder / "out")
    return 1


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        bench = Bench(Path(folder))
        bench.prepare()
        compared = kill_and_resume(bench, arguments.times, arguments.seed)
    sys.stdout.write(
        f"{arguments.times} kills (seed {arguments.seed}), {compared} finished runs, all as uninterrupted.\n"
    )


if __name__ == "__main__":
    main()
