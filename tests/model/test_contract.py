import hashlib
import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from brainmri.errors import InvalidBundle
from brainmri.model.contract import (
    LABELS,
    RELEASED_CLASSES,
    Artefact,
    Calibration,
    Classes,
    Classifier,
    Contract,
    Explanation,
    Measurement,
    Novelty,
)
from tests.tiny import calibration_parts, contract_parts, explanation_parts, write_novelty


def test_json_there_and_back_gives_the_same_contract() -> None:
    contract = Contract.from_parts(**contract_parts())
    again = Contract.from_json(contract.to_json())
    assert again == contract
    assert again.tag == "brain_mri_xception:0.0.1"
    assert again.labels == LABELS
    assert again.temperature == 2.0


def test_digest_depends_on_content_and_not_on_layout() -> None:
    contract = Contract.from_parts(**contract_parts())
    compact = json.dumps(json.loads(contract.to_json()))
    assert Contract.from_json(compact).digest() == contract.digest()
    assert Contract.from_parts(**contract_parts(temperature=2.5)).digest() != contract.digest()


def test_labels_are_never_defaulted() -> None:
    parts = contract_parts()
    del parts["labels"]
    with pytest.raises(InvalidBundle, match="labels: Field required"):
        Contract.from_parts(**parts)


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"labels": ("meningioma", "glioma", "notumor", "pituitary")}, r"others need schema_version 4"),
        ({"schema_version": 4, "labels": ("grade_2",)}, r"labels: .*at least 2 items"),
        ({"schema_version": 4, "labels": ("grade_2", "grade_2")}, r"a label is named twice"),
        ({"schema_version": 4, "labels": ("grade_2", "unsure")}, r"'unsure' is no label"),
        ({"schema_version": 4, "labels": ("grade_2", "Grade 3")}, r"labels.1: .*\(got 'Grade 3'\)"),
        ({"schema_version": 4, "no_tumor_label": "healthy"}, r"'healthy', which is none of the labels"),
        ({"schema_version": 5}, r"schema_version: .*\(got 5\)"),
        ({"temperature": 0}, r"temperature: .*\(got 0\)"),
        ({"temperature": float("nan")}, r"temperature: .*\(got nan\)"),
        ({"name": "Brain MRI"}, r"name: .*\(got 'Brain MRI'\)"),
        ({"version": "../1"}, r"version: .*\(got '../1'\)"),
        ({"network_side": 300}, r"network_side: .*\(got 300\)"),
        ({"surprise": 1}, r"surprise: Extra inputs.*\(got 1\)"),
        ({"input": {**contract_parts()["input"], "dtype": "float32"}}, r"input.dtype: .*\(got 'float32'\)"),
    ],
)
def test_a_bad_value_is_quoted(changes: dict[str, object], quoted: str) -> None:
    with pytest.raises(InvalidBundle, match=quoted):
        Contract.from_parts(**contract_parts(**changes))


def test_own_labels_say_which_of_them_means_no_tumour() -> None:
    own = contract_parts(schema_version=4, labels=("healthy", "grade_2"), no_tumor_label="healthy")
    contract = Contract.from_parts(**own)
    assert contract.classes == Classes(("healthy", "grade_2"), "healthy")
    assert Contract.from_json(contract.to_json()) == contract
    assert Contract.from_parts(**{**own, "no_tumor_label": None}).classes.no_tumor is None
    assert Contract.from_parts(**contract_parts()).classes == RELEASED_CLASSES


def test_an_explanation_needs_schema_2(tmp_path: Path) -> None:
    parts = contract_parts(schema_version=2, explanation=explanation_parts(tmp_path / "head.npz"))
    contract = Contract.from_parts(**parts)
    assert Contract.from_json(contract.to_json()) == contract
    assert contract.digest() != Contract.from_parts(**{**parts, "explanation": None}).digest()
    with pytest.raises(InvalidBundle, match="an explanation needs schema_version 2"):
        Contract.from_parts(**{**parts, "schema_version": 1})


@pytest.mark.parametrize("path", ["/etc/passwd", "../model.xml", "a/../../b", "a\\b", "./a", ".", "a//b"])
def test_artefact_paths_stay_below_the_bundle(path: str) -> None:
    artefact = {"runtime": "openvino-int8", "files": {path: "c" * 64}, "bytes": 1}
    with pytest.raises(InvalidBundle, match="not a plain path below the bundle"):
        Contract.from_parts(**contract_parts(artefacts=[artefact]))


def test_a_runtime_is_named_once() -> None:
    artefact = {"runtime": "openvino-int8", "files": {"a": "c" * 64}, "bytes": 1}
    with pytest.raises(InvalidBundle, match="named twice"):
        Contract.from_parts(**contract_parts(artefacts=[artefact, artefact]))


def test_a_runtime_finds_its_calibration(tmp_path: Path) -> None:
    calibration = calibration_parts(write_novelty(tmp_path / "n.npz"), 1.5, min_confidence=0.6, coverage=0.95)
    contract = Contract.from_parts(**contract_parts(calibrations=[calibration]))
    assert Contract.from_json(contract.to_json()) == contract
    found = contract.calibration("openvino-f32")
    assert (found.temperature, found.min_confidence, found.coverage) == (2.0, 0.6, 0.95)
    assert found.novelty is not None
    assert (found.novelty.threshold, found.novelty.keeps) == (1.5, 0.975)


def test_a_runtime_without_calibration_has_the_temperature_and_abstains_from_nothing() -> None:
    found = Contract.from_parts(**contract_parts(temperature=3.0)).calibration("keras-f16")
    assert (found.temperature, found.min_confidence, found.novelty) == (3.0, 0.0, None)


def test_a_contract_from_before_calibrations_is_valid_and_keeps_its_digest() -> None:
    # A store remembers the digest under which it holds a model.
    parts = json.loads(Contract.from_parts(**contract_parts()).to_json())
    del parts["calibrations"], parts["measurements"], parts["explanation"], parts["classifier"], parts["no_tumor_label"]
    old = Contract.from_json(json.dumps(parts))
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert old.digest() == hashlib.sha256(canonical.encode()).hexdigest()
    calibrated = Contract.from_json(json.dumps({**parts, "calibrations": [{"runtime": "keras-f16", "temperature": 1}]}))
    assert calibrated.digest() != old.digest()


@pytest.mark.parametrize(
    ("changes", "quoted"),
    [
        ({"threshold": 0}, r"threshold: .*\(got 0\)"),
        ({"threshold": float("inf")}, r"threshold: .*\(got inf\)"),
        ({"keeps": 1.5}, r"keeps: .*\(got 1.5\)"),
        ({"file": "../n.npz"}, r"file: .*not a plain path"),
        ({"sha256": "0"}, r"sha256: .*\(got '0'\)"),
    ],
)
def test_a_bad_value_of_the_detector_is_quoted(tmp_path: Path, changes: dict[str, object], quoted: str) -> None:
    calibration = calibration_parts(write_novelty(tmp_path / "n.npz"), 1.5)
    calibration["novelty"] |= changes
    with pytest.raises(InvalidBundle, match=quoted):
        Contract.from_parts(**contract_parts(calibrations=[calibration]))


def test_a_runtime_is_calibrated_once() -> None:
    calibration = {"runtime": "openvino-int8", "temperature": 1.0}
    with pytest.raises(InvalidBundle, match="named twice"):
        Contract.from_parts(**contract_parts(calibrations=[calibration, calibration]))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="The contract is invalid"):
        Contract.from_json(b"\xff not json")


def test_bfloat16_takes_the_calibration_of_what_it_computes_from() -> None:
    calibrations = [{"runtime": "openvino-f32", "temperature": 3.0}]
    contract = Contract.from_parts(**contract_parts(calibrations=calibrations))
    assert contract.calibration("openvino-bf16").temperature == 3.0
    own = [*calibrations, {"runtime": "openvino-bf16", "temperature": 4.0}]
    assert Contract.from_parts(**contract_parts(calibrations=own)).calibration("openvino-bf16").temperature == 4.0
    assert contract.calibration("onnx-f32").temperature == contract.temperature


def test_a_contract_without_measurements_keeps_its_digest() -> None:
    parts = json.loads(
        Contract.from_parts(**contract_parts(calibrations=[{"runtime": "keras-f16", "temperature": 1.0}])).to_json()
    )
    del parts["measurements"], parts["explanation"], parts["classifier"], parts["no_tumor_label"]
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    assert Contract.from_json(json.dumps(parts)).digest() == hashlib.sha256(canonical.encode()).hexdigest()


def test_a_classifier_needs_schema_3_and_leaves_no_heat_maps(tmp_path: Path) -> None:
    classifier = {"kind": "svm", "file": "classifier/model.onnx", "sha256": "c" * 64, "bytes": 9}
    parts = contract_parts(schema_version=3, classifier=classifier)
    contract = Contract.from_parts(**parts)
    assert Contract.from_json(contract.to_json()) == contract
    assert contract.digest() != Contract.from_parts(**{**parts, "classifier": None}).digest()
    with pytest.raises(InvalidBundle, match="a classifier needs schema_version 3"):
        Contract.from_parts(**{**parts, "schema_version": 2})
    with pytest.raises(InvalidBundle, match="heat maps explain the network's own logits"):
        Contract.from_parts(**{**parts, "explanation": explanation_parts(tmp_path / "head.npz")})
    with pytest.raises(InvalidBundle, match="not a plain path below the bundle"):
        Contract.from_parts(**{**parts, "classifier": {**classifier, "file": "../model.onnx"}})


def test_a_contract_cannot_be_changed_and_keeps_the_files_that_it_names() -> None:
    contract = Contract.from_parts(**contract_parts())
    with pytest.raises(ValidationError, match="frozen"):
        setattr(contract, "temperature", 1.0)  # noqa: B010 -- mypy knows better than to assign
    files = {"openvino-f32/model.xml": "a" * 64}
    assert Artefact(runtime="openvino-f32", files=files, bytes=0).files == files


PARTS_AT_THEIR_BOUNDS: list[tuple[type[BaseModel], dict[str, object], dict[str, tuple[float, ...]]]] = [
    (
        Explanation,
        {"method": "grad-cam", "rows": 1, "columns": 1, "channels": 1, "file": "a", "sha256": "c" * 64, "bytes": 1},
        {"rows": (0, 300), "columns": (0, 300), "channels": (0,), "bytes": (0,)},
    ),
    (Classifier, {"kind": "svm", "file": "a", "sha256": "c" * 64, "bytes": 1}, {"bytes": (0,)}),
    (
        Novelty,
        {"method": "m", "file": "a", "sha256": "c" * 64, "bytes": 1, "threshold": 1e-9, "keeps": 1, "fitted_on": 1},
        {"bytes": (0,), "threshold": (0, float("inf")), "keeps": (0, 1.001), "fitted_on": (0,)},
    ),
    (
        Calibration,
        {"runtime": "openvino-int8", "temperature": 1e-9, "min_confidence": 0, "coverage": 1},
        {"temperature": (0, float("inf")), "min_confidence": (-0.001, 1.001), "coverage": (0, 1.001)},
    ),
    (
        Measurement,
        {
            "runtime": "openvino-int8",
            "compared_images": 1,
            "label_flips": 0,
            "largest_probability_difference": 0,
            "macro_f1_difference": -1,
            "images_per_s": {},
            "resident_mib": 0,
            "processor": "p",
        },
        {
            "compared_images": (0,),
            "label_flips": (-0.001, 1.001),
            "largest_probability_difference": (-0.001, 1.001),
            "macro_f1_difference": (-1.001, 1.001),
            "resident_mib": (-0.001,),
        },
    ),
    (Artefact, {"runtime": "openvino-int8", "files": {"a": "c" * 64}, "bytes": 0}, {"bytes": (-1,)}),
]


@pytest.mark.parametrize(
    ("part", "least", "beyond"), PARTS_AT_THEIR_BOUNDS, ids=lambda value: getattr(value, "__name__", "")
)
def test_every_number_of_a_part_has_its_bounds(
    part: type[BaseModel], least: dict[str, object], beyond: dict[str, tuple[float, ...]]
) -> None:
    part.model_validate(least)
    for name, values in beyond.items():
        for value in values:
            with pytest.raises(ValidationError) as caught:
                part.model_validate({**least, name: value})
            assert [fault["loc"] for fault in caught.value.errors()] == [(name,)]


def test_a_heat_map_has_at_most_as_many_cells_as_the_network_has_pixels() -> None:
    _, least, _ = PARTS_AT_THEIR_BOUNDS[0]
    assert Explanation.model_validate({**least, "rows": 299, "columns": 299}).rows == 299


@pytest.mark.parametrize("changes", [{"network_side": 32}, {"network_side": 299}, {"feature_size": 1}])
def test_the_network_may_be_as_small_and_as_large_as_this(changes: dict[str, int]) -> None:
    contract = Contract.from_parts(**contract_parts(**changes))
    assert contract.model_dump(include=set(changes)) == changes


@pytest.mark.parametrize("changes", [{"network_side": 31}, {"feature_size": 0}])
def test_the_network_may_be_no_smaller(changes: dict[str, int]) -> None:
    with pytest.raises(InvalidBundle, match=next(iter(changes))):
        Contract.from_parts(**contract_parts(**changes))


def test_a_long_value_is_shortened_and_the_message_links_nowhere() -> None:
    with pytest.raises(InvalidBundle) as caught:
        Contract.from_parts(**contract_parts(name="X" * 500))
    quoted = caught.value.message.partition("(got ")[2].partition(")")[0]
    assert quoted == "'" + "X" * 116 + "..."
    assert "http" not in caught.value.message
    with pytest.raises(InvalidBundle, match="'" + "X" * 118 + "'"):
        Contract.from_parts(**contract_parts(name="X" * 118))
