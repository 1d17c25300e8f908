"""Every way to run a network: which artefact and packages each needs, and which is best for a bundle here."""

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from brainmri.errors import RuntimeUnavailable
from brainmri.model.bundle import Bundle
from brainmri.model.contract import COMPUTED_FROM, Contract
from brainmri.settings import RuntimeChoice

Family = Literal["openvino", "onnx", "litert", "tensorflow"]

_INSTALL: dict[Family, str] = {
    "openvino": "uv pip install openvino",
    "onnx": "uv sync --extra onnx",
    "litert": "uv sync --extra litert",
    "tensorflow": "uv sync --group training",
}
_NVIDIA = Path("/dev/nvidia0")


@dataclass(frozen=True)
class Variant:
    """One runtime with one precision.

    Attributes:
        choice: What `BRAINMRI_RUNTIME` calls it.
        name: What answers call it: runtime and precision, such as `openvino-int8`.
        family: The runtime.
    """

    choice: RuntimeChoice
    name: str
    family: Family

    @property
    def artefact(self) -> str:
        """Returns the artefact that it reads, by its name in the contract."""
        return COMPUTED_FROM.get(self.name, self.name)

    @property
    def precision(self) -> str:
        """Returns what it computes in, such as `int8`."""
        return self.name.partition("-")[2]


# In the order in which they are preferred on a CPU, int8 first (benchmarks/runtimes.py). bfloat16 is never taken
# unasked: which numbers come out depends on whether the CPU has it.
VARIANTS = (
    Variant("openvino-int8", "openvino-int8", "openvino"),
    Variant("onnx-int8", "onnx-int8", "onnx"),
    Variant("litert-int8", "litert-int8", "litert"),
    Variant("litert-dynamic", "litert-dynamic", "litert"),
    Variant("openvino-f32", "openvino-f32", "openvino"),
    Variant("onnx-f32", "onnx-f32", "onnx"),
    Variant("litert-f32", "litert-f32", "litert"),
    Variant("tensorflow", "keras-f16", "tensorflow"),
    Variant("openvino-bf16", "openvino-bf16", "openvino"),
    Variant("tensorflow-bf16", "keras-bf16", "tensorflow"),
)
_ON_GPU = next(variant for variant in VARIANTS if variant.name == "onnx-f32")


def choose(bundle: Bundle, choice: RuntimeChoice) -> Variant:
    """Returns what runs a bundle.

    Args:
        bundle: A verified bundle.
        choice: A variant, a runtime (then its first variant that the bundle carries), or `auto` (then the first one
            that the bundle carries and that is installed).

    Raises:
        RuntimeUnavailable: The bundle carries no artefact for it.
    """
    names = {artefact.runtime for artefact in bundle.contract.artefacts}
    carried = [variant for variant in VARIANTS if variant.artefact in names]
    if choice == "auto":
        fitting = [variant for variant in carried if variant.precision != "bf16"]
        if _ON_GPU in fitting and has_cuda():
            return _ON_GPU
        # None installed: the first says how to install it.
        fitting = [variant for variant in fitting if is_installed(variant)] or fitting
    else:
        fitting = [variant for variant in carried if choice in (variant.choice, variant.family)]
    if not fitting:
        raise RuntimeUnavailable(
            f"The bundle {bundle.contract.tag} carries nothing for the runtime {choice!r}, only"
            f" {', '.join(sorted(names))}. Set BRAINMRI_RUNTIME=auto, or export the model for it with"
            " `python -m training export-runtimes`."
        )
    return fitting[0]


def is_installed(variant: Variant) -> bool:
    """Tells whether everything that the variant imports is there, without importing it."""
    packages = {
        "openvino": ["openvino"],
        "onnx": ["onnxruntime"],
        "litert": ["ai_edge_litert"],
        # Keras names its back ends after their packages.
        "tensorflow": ["keras", os.environ.get("KERAS_BACKEND", "tensorflow")],
    }
    return all(map(find_spec, packages[variant.family]))


def require_package(variant: Variant) -> None:
    """Looks for what the variant imports, without importing it.

    Raises:
        RuntimeUnavailable: It is not installed.
    """
    if not is_installed(variant):
        raise not_installed(variant.family)


def require_classifier(contract: Contract) -> None:
    """Looks for what the contract's classifier is run by, without importing it; nothing is missing without one.

    Raises:
        RuntimeUnavailable: It is not installed.
    """
    if contract.classifier is not None and find_spec("onnxruntime") is None:
        raise not_installed("onnx")


def not_installed(family: Family) -> RuntimeUnavailable:
    """Returns the error that names the command which installs a runtime."""
    return RuntimeUnavailable(f"The runtime {family} is not installed. Install it with: {_INSTALL[family]}")


def has_cuda() -> bool:
    """Tells whether there is an NVIDIA GPU and an ONNX Runtime that can use it, without importing it."""
    try:
        distribution("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return _NVIDIA.exists()
