import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainmri.errors import InvalidBundle, InvalidSettings, ModelNotFound
from brainmri.model import store
from brainmri.model.bundle import Bundle, write_bundle
from tests.tiny import write_tiny_bundle

TAG = "brain_mri_xception:0.0.1"


@pytest.fixture(autouse=True)
def empty_store(bentoml_home: Path) -> Iterator[None]:
    yield
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception", ignore_errors=True)


def test_an_imported_bundle_is_found_by_version_and_as_latest(tiny_bundle: Bundle, bentoml_home: Path) -> None:
    assert store.import_bundle(tiny_bundle.folder) == TAG
    for tag in (TAG, "brain_mri_xception:latest", "brain_mri_xception"):
        bundle = store.resolve(tag)
        assert bundle.contract == tiny_bundle.contract
        assert bundle.folder == bentoml_home / "models" / "brain_mri_xception" / "0.0.1"


def test_importing_twice_changes_nothing_and_another_content_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    store.import_bundle(tiny_bundle.folder)
    assert store.import_bundle(tiny_bundle.folder) == TAG
    other = write_tiny_bundle(tmp_path / "other", tmp_path, temperature=3.0)
    with pytest.raises(InvalidBundle, match=f"already holds another model as {TAG}.*bentoml models delete"):
        store.import_bundle(other.folder)
    assert store.resolve(TAG).contract.temperature == 2.0


def test_the_store_lists_tag_size_and_labels(tiny_bundle: Bundle) -> None:
    store.import_bundle(tiny_bundle.folder)
    (entry,) = store.list_models()
    assert entry.tag == TAG
    assert entry.bytes > tiny_bundle.contract.artefacts[0].bytes
    assert entry.labels == {"project": "brainmri", "serving_name": "brain_mri", "licence": "Apache-2.0"}
    assert entry.figures is None


def test_the_store_lists_the_figures_of_an_evaluated_model(tiny_bundle: Bundle, tmp_path: Path) -> None:
    person = {
        "images": 40,
        "accuracy": 0.9,
        "accuracy_ci95": [0.8, 0.95],
        "macro_f1": 0.88,
        "macro_f1_ci95": [0.8, 0.9],
    }
    metrics = {"person": person | {"per_class": {}, "confusion": [[10, 0, 0, 0]] * 4}}
    artefacts = {"openvino-f32": tiny_bundle.folder / "openvino-f32"}
    contract = tiny_bundle.contract.model_copy(update={"version": "0.0.9"})
    store.import_bundle(write_bundle(tmp_path / "evaluated", contract, artefacts, metrics, "").folder)
    (entry,) = (entry for entry in store.list_models() if entry.tag.endswith(":0.0.9"))
    assert entry.figures is not None
    assert (entry.figures.person.images, entry.figures.person.accuracy) == (40, 0.9)


@pytest.mark.parametrize("tag", ["brain_mri_xception:9", "nobody:latest", "not a tag", "", "../escape:1"])
def test_an_unknown_tag_names_the_remedy(tag: str) -> None:
    with pytest.raises(ModelNotFound, match="brainmri models import FOLDER"):
        store.resolve(tag)


def test_the_beginning_of_a_version_is_not_the_version(tiny_bundle: Bundle) -> None:
    store.import_bundle(tiny_bundle.folder)
    with pytest.raises(ModelNotFound):
        store.resolve("brain_mri_xception:0.0")


def test_a_stored_file_that_was_altered_is_refused(tiny_bundle: Bundle, bentoml_home: Path) -> None:
    store.import_bundle(tiny_bundle.folder)
    stored = bentoml_home / "models" / "brain_mri_xception" / "0.0.1" / "openvino-f32" / "model.bin"
    stored.write_bytes(b"x" * stored.stat().st_size)
    with pytest.raises(InvalidBundle, match="was altered"):
        store.resolve(TAG)


def test_an_exported_archive_imports_into_an_empty_store(
    tiny_bundle: Bundle, tmp_path: Path, bentoml_home: Path
) -> None:
    store.import_bundle(tiny_bundle.folder)
    archive = store.export_bundle("brain_mri_xception:latest", tmp_path / "model.bentomodel")
    assert archive == tmp_path / "model.bentomodel"
    shutil.rmtree(bentoml_home / "models" / "brain_mri_xception")
    assert store.import_archive(archive) == TAG
    assert store.resolve(TAG).contract == tiny_bundle.contract


def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "evil.bentomodel"
    with tarfile.open(archive, "w:xz") as file:
        member = tarfile.TarInfo("../evil")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(InvalidBundle, match=r"not a \.bentomodel archive that can be unpacked"):
        store.import_archive(archive)
    assert not (tmp_path / "evil").exists()


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.bentomodel").write_text("hello")
    with pytest.raises(InvalidBundle, match="brainmri models export"):
        store.import_archive(tmp_path / "text.bentomodel")


def test_an_archive_with_a_flipped_byte_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    store.import_bundle(tiny_bundle.folder)
    archive = store.export_bundle(TAG, tmp_path / "model.bentomodel")
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(InvalidBundle, match=r"not a \.bentomodel archive that can be unpacked"):
        store.import_archive(archive)


def test_ensure_imports_the_released_bundle_once(tmp_path: Path) -> None:
    released = write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    assert store.ensure("brain_mri_xception:latest", tmp_path / "models").contract == released.contract
    shutil.rmtree(released.folder)
    assert store.ensure(TAG, tmp_path / "models").contract == released.contract


@pytest.mark.parametrize("tag", ["brain_mri_xception", "brain_mri_xception:latest"])
def test_ensure_takes_the_released_version_before_what_the_store_calls_latest(tmp_path: Path, tag: str) -> None:
    for version in ("0.0.1", "0.0.2"):
        write_tiny_bundle(tmp_path / version / "brain_mri_xception", tmp_path, version=version)
    # A checkout goes forward, then back.
    for version in ("0.0.1", "0.0.2", "0.0.1"):
        assert store.ensure(tag, tmp_path / version).contract.version == version
    assert store.ensure("brain_mri_xception:0.0.2", tmp_path / "0.0.1").contract.version == "0.0.2"


def test_ensure_refuses_a_released_bundle_whose_version_is_another_model_in_the_store(tmp_path: Path) -> None:
    released = tmp_path / "models" / "brain_mri_xception"
    write_tiny_bundle(released, tmp_path)
    store.import_bundle(released)
    write_tiny_bundle(released, tmp_path, temperature=3.0)
    with pytest.raises(InvalidBundle, match=f"already holds another model as {TAG}"):
        store.ensure("brain_mri_xception:latest", tmp_path / "models")


def test_ensure_does_not_take_another_version(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "models" / "brain_mri_xception", tmp_path)
    with pytest.raises(ModelNotFound, match="9\\.9"):
        store.ensure("brain_mri_xception:9.9", tmp_path / "models")


def test_a_home_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "file" / "below"
    home.parent.write_text("not a folder")
    monkeypatch.setenv("BENTOML_HOME", str(home))
    with pytest.raises(InvalidSettings, match=f"BENTOML_HOME={home} .* Set BENTOML_HOME to a folder"):
        store.list_models()
