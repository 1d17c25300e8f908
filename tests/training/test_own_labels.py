"""From a folder with own labels, two or twenty, to models that answer side by side."""

import base64
import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
import yaml
from PIL import Image
from typer.testing import CliRunner

from brainmri.errors import DatasetError
from brainmri.model import store
from brainmri.model.bundle import load_bundle
from tests.e2e.servers import run_to_the_end, serving
from tests.training.test_chain import RECIPE, run
from training.cli import app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LABELS = {"two": ("sick", "healthy"), "twenty": tuple(f"kind_{number}" for number in range(20))}
IMAGES = 6
SIDE = 64


def draw(label: int, seed: int) -> Image.Image:
    rng = np.random.default_rng([label, seed])
    texture = Image.fromarray(rng.integers(10 + 10 * label, 50 + 10 * label, (8, 8)).astype(np.uint8))
    return texture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def make_dataset(root: Path, labels: tuple[str, ...]) -> Path:
    for place, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for number in range(IMAGES):
            draw(place, number).save(root / label / f"{number}.png")
    said = {"labels": list(labels), "no_tumor": "healthy" if "healthy" in labels else None}
    (root / "labels.yaml").write_text(yaml.safe_dump(said))
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, bentoml_home: Path) -> Iterator[Path]:
    """A folder in which both datasets have become bundles."""
    folder = tmp_path_factory.mktemp("own")
    for name, labels in LABELS.items():
        data = make_dataset(folder / name, labels)
        recipe = folder / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**RECIPE, "name": name, "bundle": name}))
        common = ("--work", folder / f"runs-{name}")
        run("audit", "--data", data, *common)
        run("split", "--validation", 0.2, "--test", 0.2, *common)
        run("train", recipe, "--data", data, *common)
        run("evaluate", recipe, "--data", data, "--threads", 1, *common)
        run("register", recipe, "--version", "0.0.1", "--models", folder / "models", *common)
    yield folder
    for name in LABELS:
        shutil.rmtree(bentoml_home / "models" / name, ignore_errors=True)


@pytest.mark.parametrize("name", LABELS)
def test_the_bundle_names_own_labels_and_has_their_figures(work: Path, name: str) -> None:
    bundle = load_bundle(work / "models" / name)
    contract, metrics = bundle.contract, json.loads((bundle.folder / "metrics.json").read_text())
    assert (contract.schema_version, contract.labels) == (4, LABELS[name])
    assert contract.no_tumor_label == ("healthy" if name == "two" else None)
    assert list(metrics["person"]["per_class"]) == list(LABELS[name])
    assert ("normal" in metrics) == (name == "two")
    assert "figshare" not in bundle.card()
    assert store.resolve(f"{name}:0.0.1").contract.labels == LABELS[name]


def test_a_run_is_not_resumed_with_other_labels(work: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(work / "runs-two", runs)
    path = runs / "data" / "labels.json"
    path.write_text(json.dumps({"labels": ["healthy", "sick"], "no_tumor": "healthy"}))
    arguments = ["train", work / "two.yaml", "--data", work / "two", "--work", runs, "--resume"]
    with pytest.raises(DatasetError, match="was trained on the labels sick, healthy"):
        CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def png(label: int) -> bytes:
    file = io.BytesIO()
    draw(label, IMAGES).save(file, "PNG")
    return file.getvalue()


def test_both_are_served_at_once_and_answer_in_every_protocol(work: Path) -> None:
    folder = work / "server"
    shutil.copytree(work / "models", folder / "models")
    models = ",".join(f"{name}:0.0.1" for name in LABELS)
    with serving(folder, models=models, novelty_policy="pass") as server:
        for name, labels in LABELS.items():
            answer = server.client.post(f"/predict?model={name}", files={"image": ("a.png", png(0))}).json()
            assert list(answer["probabilities"]) == list(labels)
            described = server.client.get(f"/model?name={name}").json()
            assert (described["labels"], len(described["figures"]["person"]["confusion"])) == (
                list(labels),
                len(labels),
            )
            encoded = base64.b64encode(png(0)).decode()
            body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}
            rest = server.client.post(f"/v2/models/{name}_image/infer", json=body).json()
            probabilities = next(one for one in rest["outputs"] if one["name"] == "probabilities")
            assert probabilities["data"] == pytest.approx(list(answer["probabilities"].values()), abs=1e-4)
            with triton.InferenceServerClient(server.grpc_address) as client:
                given = triton.InferInput("image", [1], "BYTES")
                given.set_data_from_numpy(np.array([png(0)], object))
                found = client.infer(f"{name}_image", [given]).as_numpy("probabilities")
            assert found[0] == pytest.approx(probabilities["data"], abs=1e-4)


def test_a_folder_is_scored_and_reported_by_own_labels(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMRI_BUNDLES", str(work / "models"))
    for name, labels in LABELS.items():
        monkeypatch.setenv("BRAINMRI_MODELS", f"{name}:0.0.1")
        out = work / f"scored-{name}"
        command = ["score", work / name, "--out", out, "--labels-from", "parent-folder", "--report", "--format", "csv"]
        done = run_to_the_end(["brainmri", *map(str, command)], dict(os.environ))
        assert done.returncode == 0, done.stderr
        with (out / "results.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == IMAGES * len(labels)
        assert [column for column in rows[0] if column.startswith("probability_")] == [
            f"probability_{x}" for x in labels
        ]
        quality = json.loads((out / "summary.json").read_text())["quality"]
        assert list(quality["classes"]) == list(labels)
        assert labels[-1] in (out / "report.html").read_text()
