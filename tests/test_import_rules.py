"""Holds the import rules of the architecture: imports point one way, and frameworks stay in their place."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("brainmri", "training", "loadtests", "monitoring", "container", "k8s", "benchmarks", "service", "tests")
BENTOML = (
    "service",
    "brainmri.model.store",
    "brainmri.bentoml_internals",
    # They measure it.
    "benchmarks.batchers",
    "benchmarks.peers.bentoml_server",
)
# A runtime's framework is imported in the one module named after it.
RUNTIME_OF = {
    "tensorflow": "brainmri.model.runtimes.tensorflow",
    "keras": "brainmri.model.runtimes.tensorflow",
    "torch": "brainmri.model.runtimes.torch",
    "jax": "brainmri.model.runtimes.jax",
    "openvino": "brainmri.model.runtimes.openvino",
    "onnxruntime": "brainmri.model.runtimes.onnx",
    "ai_edge_litert": "brainmri.model.runtimes.litert",
}
# What trains with frameworks, and what measures them.
ANY_FRAMEWORK = ("training", "benchmarks")

# Each house from its highest floor to the ground: a room imports only itself and what is listed below it.
FLOORS = {
    "brainmri": (
        "__main__",  # `python -m brainmri`
        "commands",  # the console script
        "lifecycle",  # loading, activation, signs of life, orderly end
        "page",  # the page that a person uses
        "http",  # HTTP routes and their OpenAPI document
        "open_inference",  # the Open Inference Protocol over REST and gRPC
        "web",  # what every HTTP route shares
        "report",  # documents for people, in HTML and PDF
        "bulk",  # many images: folders, archives, jobs
        "dicom",  # DICOM results: report, capture, spool, listener
        "batching",  # admission, queue, threads that run batches
        "model",  # contract, bundle, store, predictor, runtimes
        "imaging",  # bytes to pixels to tensors
        "observe",  # logs, metrics, traces
        "durable",  # files written as a whole or not at all
        "bentoml_internals",  # what reaches beyond the public interface of BentoML
        "blocking",  # threads and stop flags for blocking work
        "settings",
        "errors",
        "text",  # what somebody else chose, made printable
    ),
    "training": (
        "__main__",  # `python -m training`
        "cli",
        "cli_export",
        "cli_studies",
        "studies",  # classical models, comparisons
        "release",  # export, calibrate, evaluate, describe
        "fit",  # recipe, network, training
        "data",  # audit, split, arrays
        "plots",
        "metrics",
        "console",
    ),
}

# Rooms that only some may enter, whatever their floor.
VISITORS = {
    "brainmri.imaging": (
        "service",
        "brainmri.commands",
        "brainmri.lifecycle",
        "brainmri.report",
        "brainmri.bulk",
        "brainmri.dicom",
        "brainmri.batching",
        "brainmri.model",
        "training",
        "benchmarks",
    ),
    "brainmri.model.runtimes": (
        "brainmri.commands",
        "brainmri.bulk",
        "brainmri.batching",
        "brainmri.model",
        "training",
        "benchmarks",
    ),
    "brainmri.model.store": ("service", "brainmri.commands", "brainmri.lifecycle", "training"),
}

# Data of such a room, which all may name: what is asked of an image, and what is said about it.
OPEN_TO_ALL = ("brainmri.imaging.picture", "brainmri.imaging.formats")

# What a folder may import besides itself.
MAY_IMPORT = {
    "service": ("brainmri",),
    "brainmri": (),
    "training": (
        "brainmri.settings",
        "brainmri.errors",
        "brainmri.durable",
        "brainmri.imaging",
        "brainmri.model.contract",
        "brainmri.model.bundle",
        "brainmri.model.store",
        # For evaluation: the model as it is served.
        "brainmri.model.options",
        "brainmri.model.variants",
        "brainmri.model.runtimes.open",
        "brainmri.model.runtimes.protocol",
        "brainmri.model.runtimes.openvino",
        "brainmri.model.runtimes.tensorflow",
        "brainmri.model.calibration",
        "brainmri.model.novelty",
        "brainmri.model.explanation",
        # For the verdict of series: the way of an image as users have it, and the rule.
        "brainmri.model.predictor",
        "brainmri.bulk.series",
        # For what servers have kept of feedback.
        "brainmri.observe.journal",
    ),
    "loadtests": (),
    "benchmarks": ("brainmri", "training", "loadtests"),
    "monitoring": (),
    "container": (),
    "k8s": ("brainmri.settings", "benchmarks.server", "loadtests.pictures"),
    "docs": ("brainmri.settings", "brainmri.observe.metric_specs", "brainmri.web.schemas"),
}


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
    found = []
    folder = module.split(".", maxsplit=1)[0]
    for name in imports(source):
        top = name.split(".")[0]
        if top == "bentoml" and module not in BENTOML:
            found.append(f"{module} imports {name}: bentoml belongs in {' and '.join(BENTOML)}")
        if top in RUNTIME_OF and module != RUNTIME_OF[top] and folder not in ANY_FRAMEWORK:
            found.append(f"{module} imports {name}: {top} belongs in {RUNTIME_OF[top]}, {' and '.join(ANY_FRAMEWORK)}")
        if top in OURS and (reason := _refusal(module, name)):
            found.append(f"{module} imports {name}: {reason}")
    return found


def _refusal(module: str, name: str) -> str | None:
    # The package itself holds only its version.
    if name == "brainmri.__version__" and not within(module, "loadtests"):
        return None
    folder, top = module.split(".", maxsplit=1)[0], name.split(".", maxsplit=1)[0]
    if top != folder and not any(within(name, prefix) for prefix in MAY_IMPORT[folder]):
        return f"{folder} may import {', '.join(MAY_IMPORT[folder]) or 'none'}"
    if top == folder and folder in FLOORS and not _downwards(module, name):
        return f"{name} is above {module} or has no floor"
    for room, visitors in VISITORS.items():
        is_open = any(within(name, one) for one in OPEN_TO_ALL)
        if within(name, room) and not is_open and not any(within(module, one) for one in (room, *visitors)):
            return f"only {', '.join(visitors)} may import {room}"
    return None


def _downwards(module: str, name: str) -> bool:
    floors = FLOORS[module.split(".", maxsplit=1)[0]]
    own, other = (dotted.split(".")[1] for dotted in (module, name))
    return own in floors and other in floors and floors.index(own) <= floors.index(other)


def circles(sources: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Returns each group of modules that reach each other by imports, sorted.

    Args:
        sources: Dotted name to source.
    """

    def resolved(name: str) -> str:
        # A name of a module counts as the module.
        while name and name not in sources:
            name = name.rpartition(".")[0]
        return name

    reached = {module: set(map(resolved, imports(source))) - {module, ""} for module, source in sources.items()}
    # Warshall's algorithm: afterwards `reached` holds whatever lies behind any number of imports.
    for middle in sources:
        for behind in reached.values():
            behind.update(reached[middle] if middle in behind else ())
    inside = [module for module, far in reached.items() if module in far]
    return sorted({tuple(sorted(one for one in reached[module] if module in reached[one])) for module in inside})


def files() -> list[Path]:
    """Returns every module that the rules cover; packages hold no code, but for a version and re-exports."""
    paths = [path for folder in MAY_IMPORT for path in (ROOT / folder).rglob("*.py")]
    roots = [ROOT / folder / "__init__.py" for folder in FLOORS]
    return [*sorted(path for path in paths if path not in roots), ROOT / "service.py"]


@pytest.mark.parametrize("path", files(), ids=module_name)
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    assert violations(module_name(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("brainmri.http.app", "import bentoml"),
        ("brainmri.model.bundle", "from bentoml.models import create"),
        ("brainmri.commands.cli", "def serve():\n    import bentoml"),
        ("training.release.register", "import bentoml"),
        ("brainmri.model.predictor", "import openvino"),
        ("brainmri.model.runtimes.openvino", "import tensorflow as tf"),
        ("brainmri.imaging.tensor", "from torch import nn"),
        ("brainmri.commands.cli", "import importlib\nimportlib.import_module('keras')"),
        ("service", "import onnxruntime"),
        ("loadtests.users", "import jax"),
        ("brainmri.commands.cli", "from training.fit.recipe import Recipe"),
        ("brainmri.model.runtimes.protocol", "import training"),
        ("brainmri.imaging.decode", "from brainmri.model.predictor import Predictor"),
        ("brainmri.imaging.decode", "from brainmri.model import bundle"),
        ("brainmri.batching.batcher", "from brainmri.web.schemas import Prediction"),
        ("brainmri.model.predictor", "from brainmri.model.store import fetch"),
        ("brainmri.http.app", "from brainmri.model.runtimes.openvino import OpenVINORuntime"),
        ("brainmri.http.app", "from brainmri.imaging import decode"),
        ("brainmri.bulk.rows", "from brainmri.web.schemas import Prediction"),
        ("brainmri.errors", "from brainmri.imaging import decode"),
        ("brainmri.settings", "import brainmri.model.store"),
        ("training.release.evaluate", "from brainmri.web import schemas"),
        ("training.release.evaluate", "from brainmri.bulk.rows import Row"),
        ("training.release.evaluate", "from brainmri.batching.batcher import Batcher"),
        ("training.fit.fit", "import service"),
        ("training.fit.fit", "from tests.tiny import write_tiny_bundle"),
        ("loadtests.users", "from brainmri.model.contract import LABELS"),
        ("loadtests.users", "import training.data.dataset"),
        ("loadtests.server", "from benchmarks.server import Server"),
        ("benchmarks.load", "import bentoml"),
        ("benchmarks.load", "from tests.tiny import write_tiny_bundle"),
        ("benchmarks.load", "from brainmri.model.store import fetch"),
        ("monitoring.grafana.rows", "from brainmri.imaging import SIDE"),
        ("container.healthcheck", "from brainmri.batching.engine import Engine"),
        ("brainmri.web.upload", "from brainmri.http import predict"),
        ("brainmri.open_inference.rest", "from brainmri.http.predict import json_response"),
        ("brainmri.observe.logs", "from brainmri.model.predictor import Prediction"),
        ("brainmri.commands.cli", "from brainmri.elsewhere import thing"),
        ("docs.scripts.metrics", "from brainmri.observe.metrics import Metrics"),
        ("training.data.audit", "from training.fit.model import build_model"),
        ("training.fit.fit", "from training.release.export import export"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("service", "import bentoml\nfrom brainmri.http.app import app"),
        ("brainmri.model.store", "import bentoml\nfrom brainmri.model.bundle import Bundle"),
        (
            "brainmri.http.app",
            "from brainmri.model.predictor import Predictor\nfrom brainmri.errors import NotReady",
        ),
        ("brainmri.model.runtimes.openvino", "import openvino"),
        ("brainmri.model.predictor", "from brainmri.imaging import decode\nfrom brainmri import __version__"),
        ("training.fit.model", "import keras\nimport tensorflow as tf\nfrom brainmri.imaging import SIDE"),
        (
            "training.release.evaluate",
            "from brainmri.model.calibration import softmax\nfrom training.data.dataset import list_slices",
        ),
        (
            "benchmarks.runtimes",
            "import openvino\nfrom brainmri.imaging import decode\nfrom loadtests.server import ROOT",
        ),
        ("loadtests.shapes", "from locust import LoadTestShape\nfrom loadtests.users import Caller"),
    ],
)
def test_what_the_architecture_allows_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT.keys() - {"service"}))
def test_no_modules_import_each_other_in_a_circle(folder: str) -> None:
    assert circles({module_name(path): path.read_text() for path in (ROOT / folder).rglob("*.py")}) == []


def test_a_circle_is_found_over_a_third_module_and_inside_a_function() -> None:
    sources = {
        "brainmri.a": "from brainmri.b import thing",
        "brainmri.b": "def late():\n    from brainmri import c",
        "brainmri.c": "import brainmri.a",
        "brainmri.d": "import brainmri.a",
    }
    assert circles(sources) == [("brainmri.a", "brainmri.b", "brainmri.c")]


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="Relative imports"):
        violations("brainmri.http.app", "from ..imaging import decode")


@pytest.mark.parametrize("module", ["service", "brainmri.commands.cli"])
def test_arrow_is_imported_only_by_what_writes_tables(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'pyarrow', 'openvino'}} & set(sys.modules)))"
    settings = {name: value for name, value in os.environ.items() if name != "BRAINMRI_JOBS_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=settings, capture_output=True, text=True, check=False
    )
    assert done.stdout == "[]\n", done.stderr
