"""Adds up runs of pytest: prints one closing line in pytest's own form for the logs that are named.

    python3 .ci/closing_line.py LOG...

A log without a closing line, of a run that was cut off, counts as an error.
"""

import re
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

_LINE = re.compile(r"^=+ (?P<counts>.+) in (?P<seconds>[0-9.]+)s(?: \([0-9:, a-z]+\))? =+$")
_COUNT = re.compile(r"^(?P<number>[0-9]+) (?P<what>[a-z ]+)$")
_ORDER = ("failed", "passed", "skipped", "xfailed", "xpassed", "warning", "error", "subtests passed")
"""Pytest's. Deselected tests are left out: those of one run are the tests of the other."""
_SEVERAL = ("warning", "error")
_WIDTH = 80


def closing_line(logs: list[str]) -> str:
    """Returns the line for the output of these runs."""
    counts, seconds = Counter[str](), 0.0
    for log in logs:
        found = [match for line in log.splitlines() if (match := _LINE.match(line))]
        if not found:
            counts["error"] += 1
            continue
        seconds += float(found[-1]["seconds"])
        for part in found[-1]["counts"].split(", "):
            if count := _COUNT.match(part):
                what = count["what"]
                counts[what[:-1] if what[:-1] in _SEVERAL else what] += int(count["number"])
    parts = [f"{counts[what]} {_plural(what, counts[what])}" for what in _ORDER if counts[what]]
    text = f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s"
    if seconds >= 60:
        text += f" ({timedelta(seconds=int(seconds))})"
    return f"{text} ".center(_WIDTH, "=")


def _plural(what: str, count: int) -> str:
    return f"{what}s" if what in _SEVERAL and count != 1 else what


if __name__ == "__main__":
    sys.stdout.write(closing_line([Path(name).read_text(errors="replace") for name in sys.argv[1:]]) + "\n")
