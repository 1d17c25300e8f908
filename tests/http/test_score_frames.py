"""`POST /score` of DICOM objects: a row for each frame, and a verdict for each series."""

import hashlib
from typing import Any

import numpy as np
import pytest

from tests.application import Ask, code_of
from tests.bulk.test_archives import every_format
from tests.http.test_score import LIMITS, lines_of, send
from tests.imaging.dicom_samples import dataset, file, twelve_bits


def slices(count: int, instance: str, **elements: Any) -> bytes:
    pixels = np.stack([twelve_bits()] * count) if count > 1 else twelve_bits()
    return file(dataset(pixels, SOPInstanceUID=instance, SeriesInstanceUID="1.2.3.5", **elements))


@every_format
def test_each_frame_has_a_row_and_the_series_a_verdict(ask: Ask, pack: Any) -> None:
    files = {"IM1": slices(2, "1.2.3.1"), "IM2.dcm": slices(1, "1.2.3.2"), "v.nii.gz": b"volume"}
    rows, summary = lines_of(send(ask, pack(files), max_image_bytes=2**16))
    assert [(row["path"], row["frame"], row["status"]) for row in rows] == [
        ("IM1", 0, "ok"),
        ("IM1", 1, "ok"),
        ("IM2.dcm", None, "ok"),
    ]
    assert [row["sha256"] for row in rows] == [hashlib.sha256(files[row["path"]]).hexdigest() for row in rows]
    verdict = rows[0]["verdict"]
    assert summary["series"] == [
        {"series": rows[0]["series"], "verdict": verdict, "slices": 3, "answered": 3, "votes": {verdict: 3}}
    ]
    assert (summary["images"], summary["complete"], summary["left_out_reasons"]) == (3, True, {"volume": 1})
    assert "1.2.3" not in str(rows) + str(summary)


def test_a_form_of_objects_is_answered_by_frames(ask: Ask) -> None:
    form = [("images", ("IM1", slices(2, "1.2.3.1")))]
    rows, _ = lines_of(ask("POST", "/score", files=form, settings={**LIMITS, "max_image_bytes": 2**16}))
    assert [(row["path"], row["frame"]) for row in rows] == [("IM1", 0), ("IM1", 1)]


def test_more_frames_than_an_archive_may_hold_are_refused(ask: Ask) -> None:
    response = ask(
        "POST",
        "/score",
        files=[("images", ("IM1", slices(5, "1.2.3.1")))],
        settings={**LIMITS, "max_archive_images": 4, "max_image_bytes": 2**16},
    )
    assert (response.status_code, code_of(response)) == (413, "archive_too_large")
    assert response.json()["error"]["limit"] == "4 images"


@pytest.mark.parametrize("frames", [0, 900_000])
def test_a_lie_about_the_frames_is_one_row(ask: Ask, frames: int) -> None:
    lie = dataset(twelve_bits())
    lie.NumberOfFrames = frames
    rows, summary = lines_of(ask("POST", "/score", files=[("images", ("IM1", file(lie)))], settings=LIMITS))
    assert (len(rows), summary["images"]) == (1, 1)
    assert rows[0]["error_code"] == ("image_unreadable" if frames else None)


def test_another_part_of_the_body_is_a_failed_row_unless_it_is_forced(ask: Ask) -> None:
    files = [("images", ("IM1", slices(1, "1.2.3.1", BodyPartExamined="KNEE")))]

    def code(query: str) -> str | None:
        rows, _ = lines_of(ask("POST", f"/score{query}", files=files, settings=LIMITS))
        found: str | None = rows[0]["error_code"]
        return found

    assert (code(""), code("?force=true")) == ("not_brain_mr", None)
    refused = ask("POST", "/score?force=yes", files=files, settings=LIMITS)
    assert (refused.status_code, code_of(refused)) == (400, "malformed_request")
