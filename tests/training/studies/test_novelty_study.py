import keras
import numpy as np

from brainmri.model.runtimes.protocol import Output
from tests.training.release.test_novelty import cloud
from training.data.arrays import Arrays
from training.data.near.manifest import NearSet
from training.data.outliers import Outliers
from training.fit.model import build_model
from training.release.outputs import Outputs
from training.studies import novelty_layers, novelty_study
from training.studies.novelty_study import compare_scores


class Clouds(Outputs):
    """Slices lie in a cloud, everything else far from it; logits know nothing."""

    class bundle:  # noqa: N801 -- stands for the attribute of a real one
        class contract:  # noqa: N801
            @staticmethod
            def calibration(runtime: str) -> object:
                return type("Calibration", (), {"temperature": 1.0})

    def __init__(self, slices: int) -> None:
        self._slices = slices

    def name(self, choice: str) -> str:
        return "openvino-int8"

    def of(self, choice: str, pixels: np.ndarray, rows: np.ndarray | None = None) -> Output:
        count = len(pixels) if rows is None else len(rows)
        features = cloud(count, count)
        if rows is None:
            features = features[:, ::-1] + 3
        return Output(np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32), features)


def outliers(far: int) -> Outliers:
    empty = np.zeros((far, 1, 1, 3), np.uint8)
    return Outliers(empty, "", np.zeros((7, 1, 1, 3), np.uint8), NearSet([], "", [], []))


def test_scores_of_features_tell_what_scores_of_logits_cannot(arrays: Arrays) -> None:
    rows = {row.score: row for row in compare_scores(Clouds(len(arrays.rows)), arrays, outliers(9))}
    for name in ("Mahalanobis, Ledoit-Wolf", "nearest neighbour", "square roots, 64 components, shared rest"):
        assert rows[name].far["auroc"] == rows[name].near["auroc"] == 1.0
        assert rows[name].kilobytes > 0
    assert rows["energy"].near["auroc"] < 0.9
    page = novelty_study.table(list(rows.values()))
    assert page.count("\n") == len(rows) + 1


def test_without_photographs_only_the_near_set_is_compared(arrays: Arrays) -> None:
    rows = compare_scores(Clouds(len(arrays.rows)), arrays, outliers(0))
    assert all(row.far == {} and row.near["images"] == 7 for row in rows)
    assert "| - | - | - |" in novelty_study.table(rows)


def test_features_are_taken_from_every_layer_named() -> None:
    network = build_model("xception", 4, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (3, 299, 299, 3), dtype=np.uint8)
    features = novelty_layers.features_of(network, images, np.array([2, 0], dtype=np.intp))
    assert {name: values.shape for name, values in features.items()} == dict(
        zip(novelty_layers.LAYERS, [(2, 128), (2, 256), (2, 728), (2, 728), (2, 728), (2, 1024), (2, 1536), (2, 2048)],
            strict=True)
    )  # fmt: skip
    head = network.get_layer("features").output
    expected = keras.Model(network.input, head).predict_on_batch(images[[2, 0]])
    np.testing.assert_allclose(features["block14_sepconv2_act"], expected, rtol=1e-3, atol=1e-5)
