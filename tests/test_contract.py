import json

import pytest

from brainmri.contract import LABELS, Contract
from brainmri.errors import InvalidBundle
from tests.tiny import contract_parts


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
        ({"labels": ("meningioma", "glioma", "notumor", "pituitary")}, r"labels: .*got \('meningioma', 'glioma'"),
        ({"schema_version": 2}, r"schema_version: .*\(got 2\)"),
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


@pytest.mark.parametrize("path", ["/etc/passwd", "../model.xml", "a/../../b", "a\\b", "./a", ".", "a//b"])
def test_artefact_paths_stay_below_the_bundle(path: str) -> None:
    artefact = {"runtime": "openvino-int8", "files": {path: "c" * 64}, "bytes": 1}
    with pytest.raises(InvalidBundle, match="not a plain path below the bundle"):
        Contract.from_parts(**contract_parts(artefacts=[artefact]))


def test_a_runtime_is_named_once() -> None:
    artefact = {"runtime": "openvino-int8", "files": {"a": "c" * 64}, "bytes": 1}
    with pytest.raises(InvalidBundle, match="named twice"):
        Contract.from_parts(**contract_parts(artefacts=[artefact, artefact]))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(InvalidBundle, match="The contract is invalid"):
        Contract.from_json(b"\xff not json")
