import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from brainmri.errors import InvalidBundle
from brainmri.model.bundle import Bundle, load_bundle, write_bundle
from brainmri.model.contract import Contract
from tests.tiny import calibration_parts, contract_parts, write_novelty, write_openvino, write_tiny_bundle


def test_a_written_bundle_names_and_hashes_every_artefact_file(tiny_bundle: Bundle) -> None:
    (artefact,) = tiny_bundle.contract.artefacts
    assert artefact.runtime == "openvino-f32"
    assert sorted(artefact.files) == ["openvino-f32/model.bin", "openvino-f32/model.xml"]
    content = [(tiny_bundle.folder / name).read_bytes() for name in artefact.files]
    assert [hashlib.sha256(data).hexdigest() for data in content] == list(artefact.files.values())
    assert artefact.bytes == sum(len(data) for data in content)
    assert load_bundle(tiny_bundle.folder) == tiny_bundle


def test_metrics_card_and_figures_are_written(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "a.bin").write_bytes(b"abc")
    (tmp_path / "roc.png").write_bytes(b"png")
    contract = Contract.from_parts(**contract_parts())
    artefacts = {"openvino-f32": tmp_path / "net"}
    bundle = write_bundle(tmp_path / "b", contract, artefacts, {"f1": 0.5}, "# Card\n", [tmp_path / "roc.png"])
    assert json.loads((bundle.folder / "metrics.json").read_text()) == {"f1": 0.5}
    assert (bundle.folder / "card.md").read_text() == "# Card\n"
    assert (bundle.folder / "figures" / "roc.png").read_bytes() == b"png"


def test_writing_again_replaces_the_bundle_and_leaves_nothing_aside(tmp_path: Path) -> None:
    target = tmp_path / "models" / "brain_mri_xception"
    write_tiny_bundle(target, tmp_path, version="1")
    write_tiny_bundle(target, tmp_path, version="2")
    assert load_bundle(target).contract.version == "2"
    assert [path.name for path in target.parent.iterdir()] == ["brain_mri_xception"]


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path) -> None:
    target = tmp_path / "models" / "brain_mri_xception"
    write_tiny_bundle(target, tmp_path, version="1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidBundle, match="holds no file"):
        write_bundle(target, Contract.from_parts(**contract_parts()), {"openvino-f32": tmp_path / "empty"}, {}, "")
    assert load_bundle(target).contract.version == "1"
    assert [path.name for path in target.parent.iterdir()] == ["brain_mri_xception"]


def test_when_the_last_rename_fails_the_old_bundle_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "models" / "brain_mri_xception"
    write_tiny_bundle(target, tmp_path, version="1")
    rename = Path.rename

    def full(self: Path, to: Path) -> Path:
        if to == target and self.parent == target.parent:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        write_tiny_bundle(target, tmp_path, version="2")
    assert load_bundle(target).contract.version == "1"
    assert [path.name for path in target.parent.iterdir()] == ["brain_mri_xception"]


def test_an_altered_file_is_refused(tiny_bundle: Bundle) -> None:
    path = tiny_bundle.folder / "openvino-f32" / "model.bin"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InvalidBundle, match=r"model\.bin in .* was altered: SHA-256"):
        load_bundle(tiny_bundle.folder)


def test_a_missing_file_is_refused(tiny_bundle: Bundle) -> None:
    (tiny_bundle.folder / "openvino-f32" / "model.bin").unlink()
    with pytest.raises(InvalidBundle, match=r"lacks openvino-f32/model\.bin"):
        load_bundle(tiny_bundle.folder)


def test_the_novelty_detector_is_written_and_verified(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "b", tmp_path, novelty_threshold=2.0)
    path = bundle.folder / "novelty" / "openvino-f32.npz"
    assert path.read_bytes() == (tmp_path / "novelty.npz").read_bytes()
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InvalidBundle, match=r"novelty/openvino-f32\.npz in .* was altered"):
        load_bundle(bundle.folder)
    path.unlink()
    with pytest.raises(InvalidBundle, match=r"lacks novelty/openvino-f32\.npz"):
        load_bundle(bundle.folder)


def test_a_detector_that_the_contract_names_must_be_at_hand(tmp_path: Path) -> None:
    calibration = calibration_parts(write_novelty(tmp_path / "n.npz"), 2.0)
    contract = Contract.from_parts(**contract_parts(calibrations=[calibration]))
    artefacts = {"openvino-f32": write_openvino(tmp_path / "ir")}
    with pytest.raises(InvalidBundle, match="names a novelty detector for openvino-f32, and none is at hand"):
        write_bundle(tmp_path / "b", contract, artefacts, {}, "")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    detectors = {"openvino-f32": tmp_path / "other.npz"}
    with pytest.raises(InvalidBundle, match="was altered"):
        write_bundle(tmp_path / "b", contract, artefacts, {}, "", detectors=detectors)
    assert not (tmp_path / "b").exists()


def test_further_documents_are_written(tmp_path: Path) -> None:
    contract = Contract.from_parts(**contract_parts())
    artefacts = {"openvino-f32": write_openvino(tmp_path / "ir")}
    write_bundle(tmp_path / "b", contract, artefacts, {}, "", documents={"data_card.md": "# Data\n"})
    assert (tmp_path / "b" / "data_card.md").read_text() == "# Data\n"


def test_a_symbolic_link_is_refused_even_to_the_right_content(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = tiny_bundle.folder / "openvino-f32"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidBundle, match="behind a symbolic link"):
        load_bundle(tiny_bundle.folder)


def test_a_bundle_without_artefacts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match="names no artefact"):
        write_bundle(tmp_path / "b", Contract.from_parts(**contract_parts()), {}, {}, "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_contract_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match=r"has no contract\.json"):
        load_bundle(tmp_path)


def test_the_one_file_of_a_kind(tiny_bundle: Bundle) -> None:
    artefact = tiny_bundle.artefact("openvino-")
    assert artefact is not None
    assert tiny_bundle.file(artefact, ".xml") == tiny_bundle.folder / "openvino-f32" / "model.xml"
    with pytest.raises(InvalidBundle, match=r"exactly one \*\.npz file, and holds 0"):
        tiny_bundle.file(artefact, ".npz")
    assert tiny_bundle.artefact("keras-") is None
