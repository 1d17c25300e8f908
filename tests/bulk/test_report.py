from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa

from brainmri.bulk.charts import bars, curve, histogram, matrix
from brainmri.bulk.finish import Outcome
from brainmri.bulk.quality import Labelled
from brainmri.bulk.report import page
from brainmri.bulk.row_tables import SCHEMA
from brainmri.bulk.run_folder import Method, Record
from brainmri.bulk.summary import Summary
from brainmri.model.contract import NOTICE


class Tags(HTMLParser):
    """Collects what could load something, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data", "style")]

    def handle_data(self, data: str) -> None:
        self.text += data


def outcome(path: str) -> Outcome:
    table = pa.Table.from_pylist(
        [
            {
                "path": path,
                "status": "ok",
                "label": "glioma",
                "verdict": "glioma",
                "confidence": 0.97,
                "novelty": 7.5,
                "probability_glioma": 0.97,
                "probability_meningioma": 0.01,
                "probability_notumor": 0.01,
                "probability_pituitary": 0.01,
            },
            {"path": "b.png", "status": "failed", "error_code": "image_unreadable"},
        ],
        schema=SCHEMA,
    )
    summary, labelled = Summary(), Labelled()
    summary.add_table(table)
    labelled.add(table)
    method = Method(
        model="<b>:1",
        contract_sha256="a" * 64,
        runtime="openvino-int8",
        preprocessing_version="v1",
        novelty_policy="abstain",
        batch_size=8,
        max_image_bytes=1,
        max_image_pixels=1,
    )
    record = Record(
        inputs=("<script>alert(1)</script>",), items=2, items_sha256="b" * 64, left_out=0, shard_size=256, method=method
    )
    return Outcome(record, Path("results.parquet"), summary, labelled.quality(), labelled.unlabelled)


def test_the_page_stands_alone_and_shows_what_a_caller_named_as_text() -> None:
    tags = Tags()
    tags.feed(page(outcome("scans/glioma/a.png")))
    assert tags.links == []
    assert not tags.tags & {"script", "b", "link", "img", "iframe"}
    assert NOTICE in tags.text
    assert "<script>alert(1)</script>" in tags.text
    assert "image_unreadable" in tags.text


def test_a_novelty_beyond_the_scale_is_in_the_last_column() -> None:
    summary = outcome("a.png").summary
    assert summary.novelties[-1] == summary.novelties.sum() == 1
    assert summary.confidences[19] == summary.confidences.sum() == 1


def test_a_curve_begins_below_on_the_left_and_ends_at_its_top_on_the_right() -> None:
    drawn = curve([(0.0, 0.0), (0.5, 0.1), (1.0, 0.2)], "Risk", top=0.2, diagonal=True)
    assert drawn.count("<circle") == 3
    ends = 'M44.0 156.0L508.0 12.0"'
    # The line on which both are equal, and the points' own.
    assert f'{ends} class="axis"' in drawn
    assert 'd="M44.0 156.0L276.0 84.0L508.0 12.0" class="line"' in drawn


def test_charts_have_a_mark_for_each_count() -> None:
    assert bars({"a": 1, "b": 0}, "t").count("<rect") == 2
    assert histogram([1, 2, 3], [0, 1, 2, 3], "t").count("<title>") == 3
    assert matrix(["a", "b"], [[1, 0], [0, 2]], "t").count("<rect") == 4
    assert 'aria-label="&lt;t&gt;"' in bars({}, "<t>")
