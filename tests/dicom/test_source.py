"""The object that results are about is read without its pixels."""

import tracemalloc

import numpy as np

from brainmri.dicom.source import read_source
from brainmri.imaging import DecodeLimits
from tests.imaging.dicom_samples import DEFLATED, dataset, file

UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.5"}
MOST_BYTES = 8 * 2**20


def test_of_a_deflated_object_the_beginning_is_inflated_and_no_more() -> None:
    def deflated(side: int) -> bytes:
        return file(dataset(np.zeros((side, side), np.uint16), DEFLATED, PatientID="7", NumberOfFrames=1, **UIDS))

    read_source(deflated(16), DecodeLimits())  # Imports pydicom.
    data = deflated(4000)
    assert len(data) < 2**20
    tracemalloc.start()
    try:
        source = read_source(data, DecodeLimits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (source.dataset.PatientID, source.dataset.StudyInstanceUID, source.frame) == ("7", "1.2.3", None)
    assert (source.dataset.Rows, source.dataset.Columns) == (4000, 4000)
    assert peak < MOST_BYTES
