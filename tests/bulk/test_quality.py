import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from brainmri.bulk.quality import OTHER_FOLDERS, Labelled, folder_label
from brainmri.bulk.row_tables import SCHEMA
from brainmri.model.contract import LABELS
from training import metrics
from training.data.dataset import canonical_label

FOLDERS = (
    "glioma Glioma glioma_tumor meningioma Meningioma_Tumor notumor no_tumor No-Tumor no normal healthy pituitary"
    " pituitary_tumor scans tumor"
)


@pytest.mark.parametrize("folder", FOLDERS.split())
def test_folder_names_are_read_as_training_reads_them(folder: str) -> None:
    assert folder_label(f"archive.zip/{folder}/a.png") == canonical_label(folder)


def table(probabilities: NDArray[np.float32], truths: NDArray[np.intp], verdicts: list[str]) -> pa.Table:
    rows = []
    for number, (likely, truth) in enumerate(zip(probabilities.tolist(), truths, strict=True)):
        columns = {f"probability_{label}": value for label, value in zip(LABELS, likely, strict=True)}
        rows.append({"path": f"x/{LABELS[truth]}/{number}.png", "status": "ok", "verdict": verdicts[number], **columns})
    rows.append({"path": "x/glioma/bad.png", "status": "failed"})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def test_the_figures_are_those_of_training() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(4, 0.4), 300).astype(np.float32)
    truths = np.where(random.random(300) < 0.7, probabilities.argmax(axis=1), random.integers(0, 4, 300))
    verdicts = [LABELS[row.argmax()] if row.max() > 0.6 else "unsure" for row in probabilities]
    labelled, whole = Labelled(), table(probabilities, truths, verdicts)
    for start in range(0, 301, 100):
        labelled.add(whole.slice(start, 100))
    found = labelled.quality()
    assert found is not None
    expected = metrics.classification(probabilities, truths)
    assert found.confusion == expected["confusion"]
    assert found.accuracy == expected["accuracy"]
    assert found.accuracy_ci95 == pytest.approx(expected["accuracy_ci95"])
    assert found.macro_f1 == pytest.approx(expected["macro_f1"])
    assert (found.log_loss, found.brier) == pytest.approx((expected["log_loss"], expected["brier"]), rel=1e-5)
    assert found.ece == pytest.approx(metrics.ece(probabilities, truths), rel=1e-4)
    for label in LABELS:
        for figure in ("precision", "recall", "f1", "support", "roc_auc", "average_precision"):
            assert getattr(found.classes[label], figure) == pytest.approx(expected["per_class"][label][figure])
    assert len(found.reliability) == 15
    assert np.mean([abs(accuracy - mean) for mean, accuracy in found.reliability]) == pytest.approx(found.ece)
    assert found.risk_coverage[-1] == pytest.approx((1.0, 1 - found.accuracy))
    assert len(found.risk_coverage) == 100
    assert found.augrc == pytest.approx(expected["augrc"])
    assert found.accuracy_at_95_coverage == pytest.approx(expected["accuracy_at_95_coverage"])
    sure = probabilities.max(axis=1) > 0.6
    assert found.withheld == int((~sure).sum())
    assert found.accuracy_when_given == pytest.approx((probabilities.argmax(axis=1) == truths)[sure].mean())


def test_equal_probabilities_share_their_rank_and_a_class_alone_has_no_curve() -> None:
    labelled = Labelled()
    probabilities = np.array([[0.4, 0.6, 0, 0], [0.4, 0.6, 0, 0], [0.2, 0.8, 0, 0]], np.float32)
    labelled.add(table(probabilities, np.array([0, 1, 1]), ["meningioma"] * 3))
    found = labelled.quality()
    assert found is not None
    assert (found.classes["glioma"].roc_auc, found.classes["glioma"].average_precision) == (0.75, 0.5)
    assert (found.classes["notumor"].roc_auc, found.classes["notumor"].average_precision) == (None, None)


def test_without_a_known_folder_there_are_no_figures() -> None:
    labelled = Labelled()
    labelled.add(pa.Table.from_pylist([{"path": "a.png", "status": "ok", "verdict": "glioma"}], schema=SCHEMA))
    assert labelled.quality() is None


def test_folders_that_spell_no_label_are_counted_by_name_in_bounded_memory() -> None:
    labelled = Labelled()
    paths = ["scans/a.png", "scans/b.png", "a.png", *(f"{number}/a.png" for number in range(1500))]
    labelled.add(
        pa.Table.from_pylist([{"path": path, "status": "ok", "verdict": "glioma"} for path in paths], schema=SCHEMA)
    )
    assert (labelled.unlabelled["scans"], labelled.unlabelled[""]) == (2, 1)
    assert len(labelled.unlabelled) == 1001
    assert labelled.unlabelled[OTHER_FOLDERS] == 502
