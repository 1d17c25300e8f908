import asyncio
import errno
import logging
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from brainmri.batching.engine import Engine
from brainmri.errors import ModelNotFound
from brainmri.lifecycle import follower
from brainmri.lifecycle.desired_state import DesiredState, DesiredStateFile, Stamp
from brainmri.lifecycle.follower import Follower, configure
from brainmri.model import store
from brainmri.model.bundle import Bundle, write_bundle
from brainmri.model.contract import Contract
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from tests.batching.stand_in import WAIT_S, until
from tests.tiny import contract_parts, write_openvino, write_tiny_bundle

NAME = "brain_mri_xception"


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, bentoml_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two versions in the store; gives the store's folder of the model."""
    monkeypatch.setattr(follower, "POLL_S", 0.01)
    for version in ("0.0.1", "0.0.2"):
        store.import_bundle(write_tiny_bundle(tmp_path / version, tmp_path, version=version).folder)
    yield bentoml_home / "models" / NAME
    shutil.rmtree(bentoml_home / "models" / NAME)


async def nothing() -> None:
    """Sends no warm-up requests."""


@asynccontextmanager
async def following(file: DesiredStateFile, models: tuple[str, ...] = (f"{NAME}:0.0.1",)) -> AsyncIterator[Engine]:
    engine = Engine(decode_workers=1)
    worker = Follower(engine, Metrics(CollectorRegistry()), Settings(models=models, threads=1), file)
    await worker.start(nothing)
    task = asyncio.create_task(worker.follow())
    try:
        yield engine
    finally:
        task.cancel()
        await engine.drain(WAIT_S)


def served(engine: Engine) -> list[str]:
    return [predictor.contract.version for predictor in engine.models.all()]


def test_a_change_of_the_file_changes_the_models_and_keeps_those_that_stay(tmp_path: Path) -> None:
    async def talk() -> None:
        file = DesiredStateFile(tmp_path)
        async with following(file) as engine:
            assert served(engine) == ["0.0.1"]
            (first,) = engine.models.all()
            file.write(DesiredState((f"{NAME}:0.0.2", f"{NAME}:0.0.1")))
            await until(lambda: served(engine) == ["0.0.2", "0.0.1"])
            assert engine.models.all()[1] is first
            file.write(DesiredState((f"{NAME}:0.0.2",), f"{NAME}:0.0.1"))
            await until(lambda: served(engine) == ["0.0.1"])
            assert engine.models.default is first

    asyncio.run(talk())


def test_two_tags_of_one_model_are_loaded_once(tmp_path: Path) -> None:
    async def talk() -> list[str]:
        async with following(
            DesiredStateFile(tmp_path), (f"{NAME}:latest", f"{NAME}:0.0.2", f"{NAME}:0.0.1")
        ) as engine:
            return served(engine)

    assert asyncio.run(talk()) == ["0.0.2", "0.0.1"]


def wrong_hash(stored: Path, _: Path) -> None:
    (stored / "0.0.2" / "openvino-f32" / "model.bin").write_bytes(b"altered")


def truncated(stored: Path, _: Path) -> None:
    path = stored / "0.0.2" / "openvino-f32" / "model.xml"
    path.write_bytes(path.read_bytes()[:100])


def missing(stored: Path, _: Path) -> None:
    (stored / "0.0.2" / "contract.json").unlink()


def replaced_by(bundle: Bundle, stored: Path) -> None:
    shutil.copytree(bundle.folder, stored / "0.0.2", dirs_exist_ok=True)


def wrong_shape(stored: Path, scratch: Path) -> None:
    artefacts = {"openvino-f32": write_openvino(scratch / "ir", classes=3)}
    contract = Contract.from_parts(**contract_parts(version="0.0.2"))
    replaced_by(write_bundle(scratch / "wrong", contract, artefacts, {}, ""), stored)


def other_preprocessing(stored: Path, scratch: Path) -> None:
    spec = {**contract_parts()["input"], "preprocessing_version": "pad-lanczos-299-v9"}
    replaced_by(write_tiny_bundle(scratch / "wrong", scratch, version="0.0.2", input=spec), stored)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (wrong_hash, "was altered"),
        (truncated, "was altered"),
        (missing, "it has no contract.json"),
        (wrong_shape, "lacks outputs of shape"),
        (other_preprocessing, "was trained with the preprocessing"),
    ],
)
def test_a_broken_bundle_is_refused_with_its_sentence_and_the_old_one_goes_on(
    damage: object, sentence: str, stored: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    damage(stored, tmp_path)

    async def talk() -> list[str]:
        file = DesiredStateFile(tmp_path)
        async with following(file) as engine:
            file.write(DesiredState((f"{NAME}:0.0.1",), f"{NAME}:0.0.2"))
            await until(lambda: "The models stay as they are" in caplog.text)
            assert engine.ready
            return served(engine)

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(talk()) == ["0.0.1"]
    assert sentence in caplog.text


def test_a_change_is_followed_after_a_while_in_which_the_file_could_not_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stamp, broken = DesiredStateFile.stamp, False

    def sometimes(self: DesiredStateFile) -> Stamp | None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        return stamp(self)

    async def talk() -> None:
        nonlocal broken
        monkeypatch.setattr(DesiredStateFile, "stamp", sometimes)
        file = DesiredStateFile(tmp_path)
        async with following(file) as engine:
            broken = True
            await until(lambda: "Input/output error" in caplog.text)
            file.write(DesiredState((f"{NAME}:0.0.2",)))
            broken = False
            await until(lambda: served(engine) == ["0.0.2"])

    with caplog.at_level(logging.ERROR):
        asyncio.run(talk())


def test_a_worker_that_starts_with_a_broken_activated_model_serves_the_configured_one(
    stored: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong_hash(stored, tmp_path)
    file = DesiredStateFile(tmp_path)
    file.write(DesiredState((f"{NAME}:0.0.1",), f"{NAME}:0.0.2"))

    async def talk() -> list[str]:
        async with following(file) as engine:
            return served(engine)

    assert asyncio.run(talk()) == ["0.0.1"]
    assert f"{NAME}:0.0.2 cannot be served" in caplog.text


def test_a_worker_whose_configured_model_is_missing_does_not_start(tmp_path: Path) -> None:
    async def talk() -> None:
        async with following(DesiredStateFile(tmp_path), (f"{NAME}:9.9.9",)):
            pass

    with pytest.raises(ModelNotFound, match=r"9\.9\.9"):
        asyncio.run(talk())


def test_configured_tags_are_resolved_again_and_what_is_activated_stays(tmp_path: Path) -> None:
    file = DesiredStateFile(tmp_path)
    file.write(DesiredState((f"{NAME}:0.0.1",), f"{NAME}:0.0.1"))
    settings = Settings(models=(f"{NAME}:0.0.1",), asked_models=(f"{NAME}:latest",), bundles=tmp_path / "none")
    configure(settings, file)
    assert file.read() == DesiredState((f"{NAME}:0.0.2",), f"{NAME}:0.0.1")


def test_a_configured_tag_that_is_gone_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = DesiredStateFile(tmp_path)
    file.write(DesiredState((f"{NAME}:0.0.1",)))
    configure(Settings(models=("nobody:1",), bundles=tmp_path / "none"), file)
    assert file.read() == DesiredState((f"{NAME}:0.0.1",))
    assert "The store has no model 'nobody:1'" in caplog.text
