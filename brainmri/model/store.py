"""Bundles in and out of the BentoML model store.

BentoML is imported inside the functions: importing it takes a second, and reports usage unless told not to.
"""

import lzma
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from brainmri.errors import InvalidBundle, InvalidSettings, ModelNotFound
from brainmri.model.bundle import CONTRACT, Bundle, load_bundle
from brainmri.model.contract import Contract
from brainmri.model.figures import Figures, read_figures

_DIGEST = "contract_sha256"


@dataclass(frozen=True)
class StoredModel:
    """One entry of the store.

    Attributes:
        tag: `name:version`.
        created: When it was put into the store.
        bytes: Size on disk, in bytes.
        labels: BentoML's labels.
        figures: How it did on held-out slices; None where the bundle does not say.
    """

    tag: str
    created: datetime
    bytes: int
    labels: dict[str, str]
    figures: Figures | None


def home() -> Path:
    """Returns BENTOML_HOME, or BentoML's default for it."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


def import_bundle(folder: Path) -> str:
    """Verifies a bundle and copies it into the store; does nothing when it is already there.

    Args:
        folder: The bundle.

    Returns:
        The tag, `name:version`.

    Raises:
        InvalidBundle: The bundle does not hold, or another model already has its tag.
    """
    bundle = load_bundle(folder)
    contract, digest = bundle.contract, bundle.contract.digest()
    present = _find(contract.tag)
    if present is not None:
        if present.info.metadata.get(_DIGEST) == digest:
            return contract.tag
        raise InvalidBundle(
            f"The store already holds another model as {contract.tag}. Give the new one another version, or remove the"
            f" old one with: bentoml models delete {contract.tag}"
        )
    labels = {"project": "brainmri", "serving_name": contract.serving_name, "licence": contract.licence}
    metadata = {
        _DIGEST: digest,
        "labels": list(contract.labels),
        "runtimes": [artefact.runtime for artefact in contract.artefacts],
        "preprocessing_version": contract.input.preprocessing_version,
        "recipe": contract.provenance.recipe,
        "code_revision": contract.provenance.code_revision,
    }
    with _models().create(contract.tag, labels=labels, metadata=metadata) as reference:
        shutil.copytree(bundle.folder, reference.path, dirs_exist_ok=True)
        load_bundle(Path(reference.path))
    return contract.tag


def resolve(tag: str) -> Bundle:
    """Returns the verified bundle that the store holds as `tag`, `name:version` or `name:latest`.

    Raises:
        ModelNotFound: No such tag.
        InvalidBundle: What lies there does not hold.
    """
    return load_bundle(Path(_get(tag).path))


def list_models() -> list[StoredModel]:
    """Returns every model of the store, newest first."""
    entries = [
        StoredModel(
            str(model.tag),
            model.creation_time,
            model.file_size,
            dict(model.info.labels),
            _figures(Path(model.path)),
        )
        for model in _models().list()
    ]
    return sorted(entries, key=lambda entry: entry.created, reverse=True)


def _figures(folder: Path) -> Figures | None:
    """Returns the figures of a stored model, whose files are verified only when it is loaded."""
    try:
        return read_figures(Bundle(folder, Contract.from_json((folder / CONTRACT).read_bytes())))
    except (InvalidBundle, OSError):
        # The store may hold models of other services.
        return None


def export_bundle(tag: str, path: Path) -> Path:
    """Writes the model as one `.bentomodel` file (tar, xz).

    Args:
        tag: `name:version` or `name:latest`.
        path: A folder, or a file name that ends with `.bentomodel`.

    Returns:
        The file that was written.

    Raises:
        ModelNotFound: No such tag.
        InvalidBundle: `path` is neither, or the stored model does not hold.
    """
    if not path.is_dir() and path.suffix != ".bentomodel":
        raise InvalidBundle(f"{path} is neither a folder nor a name that ends with .bentomodel. Choose one of these.")
    resolve(tag)
    return Path(_models().export_model(str(_get(tag).tag), str(path.absolute())))


def import_archive(path: Path) -> str:
    """Unpacks a `.bentomodel` file aside, verifies the bundle in it and imports it.

    BentoML's own import trusts the archive and accepts URLs; this one takes local files, and only through
    `import_bundle`. BentoML's `model.yaml` in the archive is written anew.

    Returns:
        The tag, `name:version`.

    Raises:
        InvalidBundle: Not such a file, a member outside the folder, or a bundle that does not hold.
    """
    with tempfile.TemporaryDirectory(prefix="brainmri-import-") as folder:
        try:
            with tarfile.open(path, "r:xz") as archive:
                _unpack(archive, Path(folder).resolve())
        except (OSError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
            raise InvalidBundle(
                f"{path} is not a .bentomodel archive that can be unpacked: {error}. Export it again with:"
                " brainmri models export"
            ) from error
        (Path(folder) / "model.yaml").unlink(missing_ok=True)
        return import_bundle(Path(folder))


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Writes the files of an archive below `folder`, which has no symbolic links in its path.

    Python's own filters came with 3.11.4, and Debian 12 has 3.11.2.

    Raises:
        tarfile.TarError: A member is neither a file nor a folder, or would lie outside.
    """
    for member in archive:
        target = Path(os.path.normpath(folder / member.name))
        if not target.is_relative_to(folder) or not (member.isreg() or member.isdir()):
            raise tarfile.TarError(f"{member.name[:80]!r} is not a plain file inside of it")
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif (source := archive.extractfile(member)) is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)


def ensure(tag: str, bundles: Path) -> Bundle:
    """Returns the verified bundle for `tag`, importing the released one from `bundles` if `tag` means it.

    `name` and `name:latest` mean the released one as long as there is one, whatever else the store holds.

    Args:
        tag: `name:version`, `name:latest` or `name`.
        bundles: Folder of released bundles, one subfolder for each name.

    Raises:
        ModelNotFound: Neither the store nor `bundles` has it.
        InvalidBundle: The bundle does not hold, or the store holds another model as its version.
    """
    name, _, version = tag.partition(":")
    released = bundles / name
    has_released = (released / "contract.json").is_file()
    if version in ("", "latest"):
        return resolve(import_bundle(released) if has_released else tag)
    try:
        return resolve(tag)
    except ModelNotFound:
        if not has_released or load_bundle(released).contract.tag != tag:
            raise
        return resolve(import_bundle(released))


def _models() -> ModuleType:
    try:
        (home() / "models").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSettings(
            f"The model store cannot be made in BENTOML_HOME={home()} ({error.strerror}). Set BENTOML_HOME to a folder"
            " that this user may write."
        ) from error
    # A service for medical images must not report to third parties.
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    import bentoml.models  # noqa: PLC0415 -- see above

    return bentoml.models


def _find(tag: str) -> Any | None:
    models = _models()
    from bentoml.exceptions import BentoMLException  # noqa: PLC0415 -- see above

    try:
        model = models.get(tag)
    except (BentoMLException, ValueError):
        # ValueError: not a valid tag.
        return None
    # BentoML also accepts the beginning of a version.
    version = tag.partition(":")[2]
    return model if version in ("", "latest", model.tag.version) else None


def _get(tag: str) -> Any:
    model = _find(tag)
    if model is None:
        raise ModelNotFound(
            f"The store has no model {tag!r}. See what it has with: brainmri models list; add one with:"
            " brainmri models import FOLDER"
        )
    return model
