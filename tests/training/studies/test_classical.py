"""A classical model on a network's features: made, registered, and served from its bundle."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle, RuntimeUnavailable
from brainmri.model import store
from brainmri.model.bundle import Bundle, load_bundle
from brainmri.model.contract import Contract
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from brainmri.model.runtimes.onnx import ClassifiedRuntime
from brainmri.model.runtimes.open import open_runtime
from tests.tiny import write_tiny_bundle
from training.data.outliers import Outliers, load_outliers
from training.data.slices import Slices
from training.release.outputs import SERVING, Outputs
from training.studies.classical import Job, make_classical


@pytest.fixture(scope="module")
def outliers(dataset: Path) -> Outliers:
    return load_outliers(dataset)


@pytest.fixture
def source(tmp_path: Path) -> Bundle:
    """The network of `tests.tiny`, whose features are the mean colour, with a detector."""
    return write_tiny_bundle(tmp_path / "source", tmp_path / "ir", novelty_threshold=16.0)


def job(source: Bundle, tmp_path: Path, version: str) -> Job:
    return Job(source, "random_forest", version, tmp_path / "models", threads=1, cache=tmp_path / "outputs")


def test_a_forest_on_features_is_registered_and_served_without_the_head_of_the_network(
    source: Bundle, slices: Slices, outliers: Outliers, tmp_path: Path
) -> None:
    bundle, figures, tag = make_classical(job(source, tmp_path, "1.0.0"), slices, outliers)
    contract = load_bundle(bundle.folder).contract
    assert tag == contract.tag == "brain_mri_xception_random_forest:1.0.0"
    assert contract.classifier is not None
    assert (contract.schema_version, contract.classifier.kind) == (3, "random_forest")
    assert contract.provenance.architecture == {"architecture": "mean_colour", "classifier": "random_forest"}
    assert figures["classifier"]["largest_difference_from_scikit_learn"] <= 1e-5
    # The mean grey level tells much of the label of these slices; chance is a quarter.
    assert figures["person"]["accuracy"] > 0.6
    predictor = Predictor.open(store.resolve(tag))
    images = np.asarray(slices.pixels[slices.subset("test")])
    output = predictor.infer(images)
    np.testing.assert_allclose(np.exp(output.logits).sum(axis=1), 1, atol=1e-4)
    network = open_runtime(source).infer(images)
    np.testing.assert_array_equal(output.features, network.features)
    assert not np.allclose(output.logits, network.logits)
    answer = predictor.answer(output, 0, {})
    assert answer.novelty is not None
    assert predictor.documents.figures is not None
    assert predictor.documents.figures.person.accuracy == figures["person"]["accuracy"]


def test_outputs_of_the_network_are_not_taken_for_those_of_the_classifier(
    source: Bundle, slices: Slices, outliers: Outliers, tmp_path: Path
) -> None:
    made = job(source, tmp_path, "1.0.1")
    bundle, _, _ = make_classical(made, slices, outliers)
    rows = slices.subset("test")
    ours, theirs = (Outputs(each, 1, made.cache).of(SERVING, slices.pixels, rows) for each in (bundle, source))
    assert not np.allclose(ours.logits, theirs.logits)


def test_without_onnx_runtime_the_remedy_is_named_before_anything_is_loaded(
    source: Bundle, slices: Slices, outliers: Outliers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _, _ = make_classical(job(source, tmp_path, "1.0.2"), slices, outliers)
    monkeypatch.setattr(
        "brainmri.model.variants.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    with pytest.raises(RuntimeUnavailable, match="uv sync --extra onnx"):
        Predictor.check(bundle, "auto")


def test_a_classifier_that_was_altered_or_takes_other_features_is_refused(
    source: Bundle, slices: Slices, outliers: Outliers, tmp_path: Path
) -> None:
    bundle, _, _ = make_classical(job(source, tmp_path, "1.0.3"), slices, outliers)
    parts = bundle.contract.model_dump() | {"feature_size": 7}
    with pytest.raises(InvalidBundle, match=r"takes and gives .*'features': \[3\].*Make the bundle again"):
        ClassifiedRuntime(open_runtime(bundle), Bundle(bundle.folder, Contract.from_parts(**parts)), ModelOptions())
    assert bundle.contract.classifier is not None
    file = bundle.folder / bundle.contract.classifier.file
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(InvalidBundle, match=r"classifier/model\.onnx .* was altered"):
        load_bundle(bundle.folder)
