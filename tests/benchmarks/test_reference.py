"""Tests of the in-process reference, with the tiny bundle."""

from collections.abc import Callable

import numpy as np

from benchmarks.reference import Reference, reference_process, sure
from brainmri.model.bundle import Bundle


def test_the_reference_answers_as_the_bundle_does_and_has_a_pace(
    tiny_bundle: Bundle, png: Callable[..., bytes]
) -> None:
    images = [png((255, 0, 0)), png((0, 0, 255))]
    with reference_process(tiny_bundle.folder) as reference:
        answers = reference.run(Reference.predict, images)
        tensors = reference.run(Reference.tensors, images)
        uploads = reference.run(Reference.uploads, images, 0.2)
        batches = reference.run(Reference.tensor_batches, images, 0.2)
        alone = reference.run(Reference.one_by_one, images, 0.2)
    assert [max(answer.probabilities, key=answer.probabilities.__getitem__) for answer in answers] == [
        "glioma",
        "pituitary",
    ]
    assert np.array_equal(tensors[1][150, 150], [0, 0, 255])
    assert [tensor.shape for tensor in tensors] == [(299, 299, 3)] * 2
    assert uploads.images_per_s > 0
    assert batches.images_per_s > 0
    assert uploads.cpu_ms_per_image > 0
    assert batches.cpu_ms_per_image > 0
    assert 0 < alone.decode_ms < alone.total_ms
    assert 0 < alone.inference_ms < alone.total_ms
    assert sure(images, answers) == list(zip(images, answers, strict=True))
