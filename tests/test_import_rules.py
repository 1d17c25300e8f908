"""Holds the import rules of the architecture: imports point one way, and frameworks stay in their place."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("brainmri", "training", "loadtests", "monitoring", "container", "k8s", "benchmarks", "service", "tests")
BENTOML = ("service", "brainmri.store")
# A runtime's framework is imported in the one module named after it.
RUNTIME_OF = {
    "tensorflow": "brainmri.inference.tensorflow_runtime",
    "keras": "brainmri.inference.tensorflow_runtime",
    "torch": "brainmri.inference.torch_runtime",
    "jax": "brainmri.inference.jax_runtime",
    "openvino": "brainmri.inference.openvino_runtime",
    "onnxruntime": "brainmri.inference.onnx_runtime",
    "ai_edge_litert": "brainmri.inference.litert_runtime",
}


@dataclass(frozen=True)
class Layer:
    """Which of our modules a part of the tree may import, by prefix; itself and `FOR_ALL` go without saying."""

    prefix: str
    may_import: tuple[str, ...]


FOR_ALL = (
    "brainmri.contract",
    "brainmri.errors",
    "brainmri.settings",
    "brainmri.metrics",
    "brainmri.logs",
    "brainmri.tracing",
    "brainmri.request_record",
)
# The first prefix that fits a module is its layer.
LAYERS = (
    Layer("service", ("brainmri",)),
    Layer("brainmri.cli", ("brainmri",)),
    Layer("brainmri.models_cli", ("brainmri",)),
    Layer("brainmri.bench", ("brainmri.inference", "brainmri.imaging", "brainmri.bundle")),
    Layer("brainmri.score_cli", ("brainmri",)),
    Layer(
        "brainmri.lifecycle",
        (
            "brainmri.api.open_inference.server",
            "brainmri.api.schemas",
            "brainmri.store",
            "brainmri.inference",
            "brainmri.imaging",
        ),
    ),
    Layer("brainmri.__main__", ("brainmri.cli",)),
    Layer("brainmri.keys_cli", ("brainmri.keys",)),
    Layer(
        "brainmri.api",
        (
            "brainmri.inference.predictor",
            "brainmri.inference.engine",
            "brainmri.inference.batcher",
            "brainmri.inference.bulk_lane",
            "brainmri.inference.deadline",
            "brainmri.scoring",
            "brainmri.jobs",
            "brainmri.keys",
            "brainmri.exposition",
        ),
    ),
    Layer("brainmri.web", ("brainmri.api.schemas",)),
    Layer("brainmri.jobs", ("brainmri.scoring", "brainmri.imaging", "brainmri.inference")),
    Layer(
        "brainmri.scoring",
        (
            "brainmri.imaging",
            "brainmri.bundle",
            "brainmri.inference.predictor",
            "brainmri.inference.batch_run",
            "brainmri.inference.novelty",
            "brainmri.inference.runtime",
        ),
    ),
    Layer("brainmri.inference", ("brainmri.imaging", "brainmri.bundle")),
    Layer("brainmri.store", ("brainmri.bundle",)),
    Layer("brainmri.bundle", ()),
    Layer("brainmri.metrics_document", ("brainmri.metric_specs",)),
    Layer("brainmri.exposition", ("brainmri.metric_specs",)),
    # Of the predictor its types only.
    Layer("brainmri.metrics", ("brainmri.metric_specs", "brainmri.exposition", "brainmri.inference.predictor")),
    Layer("brainmri.request_record", ("brainmri.inference.predictor",)),  # its types only
    Layer("brainmri.imaging", ()),
    Layer("brainmri", ()),
    Layer(
        "training",
        (
            "brainmri.imaging",
            "brainmri.bundle",
            "brainmri.store",
            # For evaluation: the model as it is served.
            "brainmri.inference.runtime",
            "brainmri.inference.openvino_runtime",
            "brainmri.inference.tensorflow_runtime",
            "brainmri.inference.calibration",
            "brainmri.inference.novelty",
        ),
    ),
    Layer("loadtests", ()),
    Layer("monitoring", ()),
    Layer("container", ()),
    Layer("k8s", ("benchmarks.server",)),
)


def within(module: str, prefix: str) -> bool:
    """Tells whether `module` is `prefix` or lies below it."""
    return module == prefix or module.startswith(prefix + ".")


def module_name(path: Path) -> str:
    """Returns the dotted name of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str) -> Iterator[str]:
    """Yields the dotted name of everything that `source` imports, also inside functions and as text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "Relative imports hide what is imported."
            # `from a import b` imports the module a.b or a name of a.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def violations(module: str, source: str) -> list[str]:
    """Returns one sentence for each import of `module` that breaks a rule."""
    layer = next(layer for layer in LAYERS if within(module, layer.prefix))
    found = []
    for name in imports(source):
        top = name.split(".")[0]
        if top == "bentoml" and module not in BENTOML:
            found.append(f"{module} imports {name}: bentoml belongs in {' and '.join(BENTOML)}")
        if top in RUNTIME_OF and module != RUNTIME_OF[top] and not within(module, "training"):
            found.append(f"{module} imports {name}: {top} belongs in {RUNTIME_OF[top]} and training")
        if top in OURS and not _allowed(name, layer):
            found.append(f"{module} imports {name}: {layer.prefix} may import {', '.join(layer.may_import) or 'none'}")
    return found


def _allowed(name: str, layer: Layer) -> bool:
    if layer.prefix == "loadtests":
        return within(name, "loadtests")
    # The package itself holds only its version.
    if name in ("brainmri", "brainmri.__version__"):
        return True
    # The catch-all layer of `brainmri` covers single modules, which may not reach into the others.
    itself = () if layer.prefix == "brainmri" else (layer.prefix,)
    return any(within(name, prefix) for prefix in (*itself, *FOR_ALL, *layer.may_import))


def files() -> list[Path]:
    folders = [ROOT / folder for folder in ("brainmri", "training", "loadtests", "monitoring", "container", "k8s")]
    return [*sorted(path for folder in folders for path in folder.rglob("*.py")), ROOT / "service.py"]


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    assert violations(module_name(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("brainmri.api.http", "import bentoml"),
        ("brainmri.bundle", "from bentoml.models import create"),
        ("brainmri.cli", "def serve():\n    import bentoml"),
        ("training.register", "import bentoml"),
        ("brainmri.inference.predictor", "import openvino"),
        ("brainmri.inference.openvino_runtime", "import tensorflow as tf"),
        ("brainmri.imaging.tensor", "from torch import nn"),
        ("brainmri.cli", "import importlib\nimportlib.import_module('keras')"),
        ("service", "import onnxruntime"),
        ("loadtests.users", "import jax"),
        ("brainmri.cli", "from training.recipe import Recipe"),
        ("brainmri.inference.runtime", "import training"),
        ("brainmri.imaging.decode", "from brainmri.inference.predictor import Predictor"),
        ("brainmri.imaging.decode", "from brainmri import bundle"),
        ("brainmri.inference.batcher", "from brainmri.api.schemas import Prediction"),
        ("brainmri.inference.predictor", "from brainmri.store import fetch"),
        ("brainmri.api.http", "from brainmri.inference.openvino_runtime import OpenVINORuntime"),
        ("brainmri.api.http", "from brainmri.imaging import decode"),
        ("brainmri.scoring.rows", "from brainmri.api.schemas import Prediction"),
        ("brainmri.errors", "from brainmri.imaging import decode"),
        ("brainmri.settings", "import brainmri.store"),
        ("training.evaluate", "from brainmri.api import schemas"),
        ("training.evaluate", "from brainmri.inference.predictor import Predictor"),
        ("training.evaluate", "from brainmri.inference.batcher import Batcher"),
        ("training.fit", "import service"),
        ("training.fit", "from tests.tiny import write_tiny_bundle"),
        ("loadtests.users", "from brainmri.contract import LABELS"),
        ("loadtests.users", "import training.dataset"),
        ("monitoring.grafana.rows", "from brainmri.imaging import SIDE"),
        ("container.healthcheck", "from brainmri.inference.engine import Engine"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service", "import bentoml\nfrom brainmri.api.http import app"),
        ("brainmri.store", "import bentoml\nfrom brainmri.bundle import Bundle"),
        (
            "brainmri.api.http",
            "from brainmri.inference.predictor import Predictor\nfrom brainmri.errors import NotReady",
        ),
        ("brainmri.inference.openvino_runtime", "import openvino"),
        ("brainmri.inference.predictor", "from brainmri.imaging import decode\nfrom brainmri import __version__"),
        ("training.model", "import keras\nimport tensorflow as tf\nfrom brainmri.imaging import SIDE"),
        (
            "training.evaluate",
            "from brainmri.inference.calibration import softmax\nfrom training.dataset import list_slices",
        ),
        ("loadtests.shapes", "from locust import LoadTestShape\nfrom loadtests.users import Caller"),
    ],
)
def test_what_the_architecture_allows_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="Relative imports"):
        violations("brainmri.api.http", "from ..imaging import decode")


@pytest.mark.parametrize("module", ["service", "brainmri.cli"])
def test_arrow_is_imported_only_by_what_writes_tables(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'pyarrow', 'openvino'}} & set(sys.modules)))"
    settings = {name: value for name, value in os.environ.items() if name != "BRAINMRI_JOBS_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
