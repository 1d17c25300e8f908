"""The end of a run: the parts of all shares joined into results, a summary, and the marker last."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from brainmri import durable
from brainmri.bulk.join import joined
from brainmri.bulk.quality import Labelled, Quality
from brainmri.bulk.results import write_results
from brainmri.bulk.row_tables import schema_of
from brainmri.bulk.run_folder import Format, Record, RunFolder
from brainmri.bulk.series import SeriesVerdict, SeriesVotes
from brainmri.bulk.summary import Summary
from brainmri.model.contract import NOTICE, Classes


@dataclass(frozen=True)
class Outcome:
    """What a whole run gave.

    Attributes:
        record: What was asked.
        results: The file of all rows.
        summary: Counts.
        quality: Figures against true labels; None when none were asked for, or none are known.
        series: Verdict of each series of several slices, by the digest of its identifier.
        unlabelled: Folders whose names spell no label, and how many answered images each holds; empty when no labels
            were asked for.
    """

    record: Record
    results: Path
    summary: Summary
    quality: Quality | None
    series: Mapping[str, SeriesVerdict]
    unlabelled: Mapping[str, int]

    @property
    def classes(self) -> Classes:
        """What the model tells apart."""
        return self.record.method.classes


def finish(folders: Sequence[RunFolder], record: Record, form: Format, labelled: bool) -> Outcome:
    """Joins the parts into the first folder: results, summary, and the marker last.

    Args:
        folders: Those of the shares.
        record: What was asked.
        form: Of the results.
        labelled: Whether the name of each image's folder is its true label.

    Raises:
        ScoringRefused: Parts are missing or do not belong to the run.
    """
    folder, classes = folders[0], record.method.classes
    summary, labels, votes = Summary(classes), Labelled(classes), SeriesVotes(classes)

    def counted(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            summary.add_table(table)
            for series, verdict in zip(table["series"].to_pylist(), table["verdict"].to_pylist(), strict=True):
                votes.add(series, verdict)
            if labelled:
                labels.add(table)
            yield table

    folder.marker.unlink(missing_ok=True)
    results = folder.results(form)
    with folder.manifest(record) as manifest:
        tables = counted(joined(folders, record, manifest))
        schema = schema_of(record.method.tags, classes.labels)
        durable.write(results, lambda file: write_results(file, tables, form, schema))
    quality, series = labels.quality(), votes.verdicts()
    facts = {
        "notice": NOTICE,
        **record.model_dump(),
        **summary.to_json(),
        "quality": None if quality is None else asdict(quality),
        "series": {name: asdict(found) for name, found in series.items()},
        "unlabelled_folders": dict(labels.unlabelled.most_common()),
    }
    content = json.dumps(facts, indent=1).encode() + b"\n"
    durable.write_bytes(folder.summary, content)
    folder.remove_leftovers()
    durable.write_bytes(folder.marker, b"")
    return Outcome(record, results, summary, quality, series, labels.unlabelled)
