"""Where a network looks: its heat maps on tumours with boxes, beside the image's centre and random weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmri.model.contract import LABELS
from brainmri.model.explanation import Head
from training.data.slices import NOTUMOR, Slices
from training.fit.model import FEATURE_MAP, HIDDEN, LOGITS, build_model, use_serving_layout, with_features
from training.release.answers import Answers
from training.release.evaluate import heads
from training.release.localisation import centre_localisation, localisation
from training.release.outputs import SERVING, Outputs

_EVERY = 4
"""Random weights are asked about every so many slices: more would tell nothing new."""
_BATCH = 16


def describe_looking(
    outputs: Outputs, slices: Slices, test: Answers, external: Answers | None, network: dict[str, Any]
) -> dict[str, Any]:
    """Returns `localisation` of `metrics.json`; empty for a bundle without heat maps, or without boxes.

    Args:
        outputs: Of the bundle.
        slices: With boxes.
        test: Answers to the test subset; the map of the true label is judged.
        external: Answers to tumours of unnamed kind; the map of the most probable tumour is judged.
        network: What `build_model` takes, for random weights.
    """
    known = _with_boxes(slices, test)
    if outputs.bundle.contract.explanation is None or not len(known.rows):
        return {}
    boxes, persons = slices.boxes[known.rows], heads(slices, known.rows)
    names = slices.classes.labels
    labels = [names[label] for label in known.labels]
    result = {
        "person": localisation(outputs.heat_maps(SERVING, slices.pixels, known.rows, labels), boxes, persons),
        "centre": centre_localisation(boxes, persons),
    }
    few = slice(None, None, _EVERY)
    maps = random_maps(slices.pixels, known.rows[few], labels[few], names, **network)
    result["random"] = localisation(maps, boxes[few], persons[few])
    if external is not None and len((boxed := _with_boxes(slices, external)).rows):
        likeliest = [names[label] for label in likeliest_tumours(boxed.likely)]
        found = outputs.heat_maps(SERVING, slices.pixels, boxed.rows, likeliest)
        result["br35h"] = localisation(found, slices.boxes[boxed.rows], heads(slices, boxed.rows))
    return result


def likeliest_tumours(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """Returns the index of the tumour with the largest logit or probability of each image, `[N]` from `[N, 4]`."""
    tumours = np.delete(np.arange(len(LABELS)), NOTUMOR)
    return np.asarray(tumours[scores[:, tumours].argmax(axis=1)])


def random_maps(
    pixels: NDArray[np.uint8], rows: NDArray[np.intp], labels: list[str], names: Sequence[str] = LABELS, **network: Any
) -> NDArray[np.float32]:
    """Returns heat maps `[N, h, w]` of a network that has learnt nothing."""
    use_serving_layout()
    model = with_features(build_model(**network, classes=len(names)))
    head = Head(model.get_layer(HIDDEN).get_weights()[1], model.get_layer(LOGITS).get_weights()[0], names)
    maps = []
    for start in range(0, len(rows), _BATCH):
        output = model.predict_on_batch(np.asarray(pixels[rows[start : start + _BATCH]]))
        asked = zip(output[FEATURE_MAP], labels[start : start + _BATCH], strict=True)
        maps += [head.heat_map(one, label).cells for one, label in asked]
    return np.stack(maps)


def _with_boxes(slices: Slices, answers: Answers) -> Answers:
    return answers.part(slices.boxes[answers.rows, 2] > 0)
