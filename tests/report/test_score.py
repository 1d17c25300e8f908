from pathlib import Path

import pyarrow as pa

from brainmri.bulk.finish import Outcome
from brainmri.bulk.quality import Labelled
from brainmri.bulk.row_tables import SCHEMA
from brainmri.bulk.run_folder import Method, Record
from brainmri.bulk.series import SeriesVerdict
from brainmri.bulk.summary import Summary
from brainmri.model.contract import NOTICE
from brainmri.report.score import page
from tests.report.tags import Tags


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
    series = {"5d3f": SeriesVerdict("glioma", 22, 19, {"glioma": 9, "notumor": 10})}
    return Outcome(record, Path("results.parquet"), summary, labelled.quality(), series, labelled.unlabelled)


def test_the_page_stands_alone_and_shows_what_a_caller_named_as_text() -> None:
    tags = Tags()
    tags.feed(page(outcome("scans/glioma/a.png")))
    assert tags.links == []
    assert not set(tags.tags) & {"script", "b", "link", "img", "iframe"}
    assert NOTICE in tags.text
    assert "glioma, meningioma, notumor, pituitary" in tags.text
    assert "<script>alert(1)</script>" in tags.text
    assert "image_unreadable" in tags.text
    # Of the series: its verdict, 22 slices, 19 with a class, and its votes in the order of the labels.
    assert "".join(("5d3f", "glioma", "22", "19", "9", "0", "10", "0")) in tags.text


def test_a_novelty_beyond_the_scale_is_in_the_last_column() -> None:
    summary = outcome("a.png").summary
    assert summary.novelties[-1] == summary.novelties.sum() == 1
    assert summary.confidences[19] == summary.confidences.sum() == 1


def test_what_is_missing_is_said_in_words() -> None:
    tags = Tags()
    tags.feed(page(outcome("scans/glioma/a.png")))
    # The model abstains; an area is not defined; there are no images: three facts, three wordings.
    assert "no label: the model abstains" in tags.text
    assert "not defined" in tags.text
    assert "no images" in tags.text
    assert "none" not in tags.text.lower().replace("nonetheless", "")
    assert "Every image has an answer." not in tags.text


def test_folders_that_name_no_class_are_told() -> None:
    tags = Tags()
    tags.feed(page(outcome("scans/elsewhere/a.png")))
    assert "1 answers have no true label" in tags.text
    assert "'elsewhere' (1)" in tags.text
