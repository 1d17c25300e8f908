"""A model bundle on disk: write, read, verify.

A bundle is a folder that holds `contract.json`, `metrics.json`, `card.md`, one subfolder of files for each artefact
of the contract, the parameters of its novelty detectors, `figures/` and other documents. Nothing in it is executed,
and nothing is used before its SHA-256 has been compared.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from brainmri.errors import InvalidBundle
from brainmri.model.contract import Artefact, Contract

CONTRACT = "contract.json"
METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
"""One row for each held-out image; `training.release.predictions` writes it."""
CARD = "card.md"
FIGURES = "figures"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: Where it lies.
        contract: What it promises.
    """

    folder: Path
    contract: Contract

    def artefact(self, prefix: str) -> Artefact | None:
        """Returns the first artefact whose runtime starts with `prefix`, such as `openvino-`, or None."""
        return next((a for a in self.contract.artefacts if a.runtime.startswith(prefix)), None)

    def named(self, runtime: str) -> Artefact:
        """Returns the artefact of a runtime and precision such as `openvino-int8`.

        Raises:
            InvalidBundle: The contract names no such artefact.
        """
        for artefact in self.contract.artefacts:
            if artefact.runtime == runtime:
                return artefact
        raise InvalidBundle(f"The bundle {self.contract.tag} carries no {runtime}. Export the model for it.")

    def card(self) -> str:
        """Returns the model card, Markdown; empty without one."""
        path = self.folder / CARD
        # A card that links elsewhere would show a file from outside the bundle to everybody.
        if not path.is_file() or path.is_symlink():
            return ""
        return path.read_text(encoding="utf-8", errors="replace")

    def file(self, artefact: Artefact, suffix: str) -> Path:
        """Returns the path of the one file of `artefact` whose name ends with `suffix`.

        Raises:
            InvalidBundle: No such file, or more than one.
        """
        names = [name for name in artefact.files if name.endswith(suffix)]
        if len(names) != 1:
            raise InvalidBundle(
                f"The artefact {artefact.runtime} must hold exactly one *{suffix} file, and holds {len(names)}."
                " Register the model again."
            )
        return self.folder / names[0]


def write_bundle(  # noqa: PLR0913 -- the parts of a bundle are many, and each has a name
    folder: Path,
    contract: Contract,
    artefacts: Mapping[str, Path],
    metrics: Mapping[str, object],
    card: str,
    figures: Iterable[Path] = (),
    *,
    detectors: Mapping[str, Path] = MappingProxyType({}),
    head: Path | None = None,
    classifier: Path | None = None,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> Bundle:
    """Writes a bundle aside, verifies it, and puts it at `folder` in one rename.

    Args:
        folder: Where the bundle goes; an older bundle there is replaced.
        contract: The promises; its artefacts are replaced by what is copied.
        artefacts: Runtime name, such as `openvino-int8`, to the folder of its files.
        metrics: What `metrics.json` holds.
        card: What `card.md` holds (Markdown).
        figures: Image files that go to `figures/`.
        detectors: Runtime name to the parameters of its novelty detector, for those that the contract names.
        head: The file of the contract's explanation, if it has one.
        classifier: The ONNX file of the contract's classifier, if it has one.
        documents: File name to the text of further documents, such as a data card.

    Returns:
        The bundle at `folder`, verified.

    Raises:
        InvalidBundle: No artefact, an empty artefact folder, a detector, head or classifier that is missing or differs
            from the contract, or a contract that does not hold.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        copied = [_copy_artefact(runtime, source, aside).model_dump() for runtime, source in artefacts.items()]
        complete = Contract.from_parts(**{**contract.model_dump(), "artefacts": copied})
        (aside / CONTRACT).write_text(complete.to_json(), encoding="utf-8")
        (aside / METRICS).write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        (aside / CARD).write_text(card, encoding="utf-8")
        for name, text in documents.items():
            (aside / name).write_text(text, encoding="utf-8")
        _copy_detectors(complete, detectors, aside)
        if complete.explanation is not None:
            _copy(head, aside / complete.explanation.file, "explains with a head")
        if complete.classifier is not None:
            _copy(classifier, aside / complete.classifier.file, "answers with a classifier")
        for figure in figures:
            (aside / FIGURES).mkdir(exist_ok=True)
            shutil.copyfile(figure, aside / FIGURES / figure.name)
        load_bundle(aside)
        aside.chmod(0o755)
        _replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Bundle(folder, complete)


def load_bundle(folder: Path) -> Bundle:
    """Reads a bundle and verifies every file that its contract names.

    Raises:
        InvalidBundle: The folder or a file is missing, a hash or size differs, a path is or goes through a symbolic
            link, or the contract does not hold.
    """
    path = folder / CONTRACT
    if not path.is_file() or path.is_symlink():
        raise InvalidBundle(f"{folder} is not a bundle: it has no {CONTRACT}. Name the folder that contains one.")
    contract = Contract.from_json(path.read_bytes())
    if not contract.artefacts:
        raise InvalidBundle(f"The contract in {folder} names no artefact. Export the model and register it again.")
    for artefact in contract.artefacts:
        _verify(folder, f"The artefact {artefact.runtime}", artefact.files, artefact.bytes)
    for calibration in contract.calibrations:
        if (novelty := calibration.novelty) is not None:
            what = f"The novelty detector of {calibration.runtime}"
            _verify(folder, what, {novelty.file: novelty.sha256}, novelty.bytes)
    if (explanation := contract.explanation) is not None:
        _verify(folder, "The head for heat maps", {explanation.file: explanation.sha256}, explanation.bytes)
    if (classifier := contract.classifier) is not None:
        _verify(folder, "The classifier", {classifier.file: classifier.sha256}, classifier.bytes)
    return Bundle(folder, contract)


def _verify(folder: Path, what: str, files: Mapping[str, str], size: int) -> None:
    total = 0
    for name, expected in files.items():
        path = folder / name
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(folder) and part != folder):
            raise InvalidBundle(f"{name} in {folder} is or lies behind a symbolic link. Copy the file itself instead.")
        if not path.is_file():
            raise InvalidBundle(f"{folder} lacks {name}, which its contract names. Fetch the bundle again.")
        actual = file_sha256(path)
        if actual != expected:
            raise InvalidBundle(
                f"{name} in {folder} was altered: SHA-256 {actual}, the contract says {expected}."
                " Fetch the bundle again."
            )
        total += path.stat().st_size
    if total != size:
        raise InvalidBundle(f"{what} has {total} bytes, the contract says {size}. Register the model again.")


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy_artefact(runtime: str, source: Path, aside: Path) -> Artefact:
    files, size = {}, 0
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        target = aside / runtime / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        files[target.relative_to(aside).as_posix()] = file_sha256(target)
        size += target.stat().st_size
    if not files:
        raise InvalidBundle(f"The folder {source} for the artefact {runtime} holds no file. Export the model first.")
    return Artefact(runtime=runtime, files=files, bytes=size)


def _copy_detectors(contract: Contract, detectors: Mapping[str, Path], aside: Path) -> None:
    for calibration in contract.calibrations:
        if calibration.novelty is None:
            continue
        source = detectors.get(calibration.runtime)
        if source is None:
            raise InvalidBundle(
                f"The contract names a novelty detector for {calibration.runtime}, and none is at hand."
                " Fit it with `python -m training novelty`."
            )
        target = aside / calibration.novelty.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _copy(source: Path | None, target: Path, what: str) -> None:
    if source is None:
        raise InvalidBundle(f"The contract {what}, and none is at hand. Export the model again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _replace(aside: Path, folder: Path) -> None:
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        aside.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        old.rmdir()
        raise
    shutil.rmtree(old)
