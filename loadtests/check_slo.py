"""Turns the record of a load test into pass or fail: `python -m loadtests.check_slo RECORD`.

Exit status 0: every objective was met; 1: one was missed; 2: there is nothing to judge.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtests import plots, report
from loadtests.record import BadRecord, read_record
from loadtests.slo import Slo, judge, stage_results

MET, MISSED, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges one record, prints the figures, and writes the report; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        record = read_record(options.record)
    except BadRecord as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    slo = Slo(options.answered, options.within, options.within_ms, options.refused, options.up_to)
    results = stage_results(record, options.settle)
    findings = judge(record, results, slo)
    sys.stdout.write(report.terminal_text(record, results, findings))
    folder: Path = options.output or options.record.parent
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    if len({result.load for result in results}) > 1:
        drawn.append(plots.save(plots.over_load(results, slo, report.load_unit(record)), folder / "load"))
    if record.spans:
        drawn.append(plots.save(plots.over_time(record, slo), folder / "time"))
    page = folder / "report.html"
    page.write_text(report.html_page(record, results, findings, drawn))
    sys.stdout.write(f"Report: {page}\n")
    return MET if all(finding.met for finding in findings) else MISSED


def _parser() -> argparse.ArgumentParser:
    default = Slo()
    parser = argparse.ArgumentParser(prog="python -m loadtests.check_slo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", type=Path, help="what a run wrote to --record")
    parser.add_argument("--output", type=Path, help="folder of the report and pictures; the record's by default")
    parser.add_argument("--answered", type=float, default=default.answered, help="least %% answered rightly")
    parser.add_argument("--within", type=float, default=default.within, help="least %% of answers within --within-ms")
    parser.add_argument("--within-ms", type=float, default=default.within_ms, help="milliseconds")
    parser.add_argument("--refused", type=float, default=default.refused, help="most %% refused")
    parser.add_argument("--up-to", type=float, help="beyond this load requests may be slow or refused, but not fail")
    parser.add_argument("--settle", type=float, default=2.0, help="seconds left out at the start of each stage")
    return parser


if __name__ == "__main__":
    sys.exit(main())
