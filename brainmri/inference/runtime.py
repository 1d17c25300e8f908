"""What a runtime must do, and the choice among those that the bundle and the machine allow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from brainmri.bundle import Bundle
from brainmri.errors import RuntimeUnavailable

Choice = Literal["auto", "openvino", "tensorflow"]

_PREFIX = {"openvino": "openvino-", "tensorflow": "keras-"}
_INSTALL = {"openvino": "uv pip install openvino", "tensorflow": "uv sync --group training"}


@dataclass(frozen=True)
class Output:
    """What the network says about a batch of B images.

    Attributes:
        logits: float32 `[B, 4]`, in the order of the contract's labels, before temperature scaling.
        features: float32 `[B, D]`, pooled over the picture, for the novelty detector.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]

    @classmethod
    def join(cls, parts: Sequence["Output"]) -> "Output":
        """Returns the parts as one output, in their order; at least one part."""
        if len(parts) == 1:
            return parts[0]
        logits, features = [part.logits for part in parts], [part.features for part in parts]
        return cls(np.concatenate(logits), np.concatenate(features))

    def rows(self, start: int, stop: int) -> "Output":
        """Returns the images `start` to `stop - 1`, without a copy."""
        return Output(self.logits[start:stop], self.features[start:stop])


@dataclass(frozen=True)
class RuntimeInfo:
    """Which runtime answers.

    Attributes:
        name: Runtime and precision of the artefact, such as `openvino-int8`.
        precision: Such as `int8`, `f16`.
        threads: CPU threads that it uses.
        batch_sizes: The batch sizes that it has compiled, ascending; empty if any size is as good.
    """

    name: str
    precision: str
    threads: int
    batch_sizes: tuple[int, ...] = ()


class Runtime(Protocol):
    """One loaded network. Safe to call from several threads; calls may wait for each other."""

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        ...

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network on uint8 `[B, 299, 299, 3]` with values in [0, 255]."""
        ...


def choose(bundle: Bundle, choice: Choice) -> Literal["openvino", "tensorflow"]:
    """Returns the runtime for `bundle`: OpenVINO before TensorFlow unless one is asked for.

    Raises:
        RuntimeUnavailable: The bundle carries no artefact for it.
    """
    wanted: tuple[Literal["openvino", "tensorflow"], ...]
    wanted = ("openvino", "tensorflow") if choice == "auto" else (choice,)
    for name in wanted:
        if bundle.artefact(_PREFIX[name]) is not None:
            return name
    carried = ", ".join(artefact.runtime for artefact in bundle.contract.artefacts)
    raise RuntimeUnavailable(
        f"The bundle {bundle.contract.tag} carries nothing for the runtime {choice!r}, only {carried}."
        " Set BRAINMRI_RUNTIME=auto or export the model for it."
    )


def require_package(name: Literal["openvino", "tensorflow"]) -> None:
    """Looks for what the runtime imports, without importing it.

    Raises:
        RuntimeUnavailable: It is not installed.
    """
    # Keras names its back ends after their packages.
    packages = ["openvino"] if name == "openvino" else ["keras", os.environ.get("KERAS_BACKEND", "tensorflow")]
    if not all(map(find_spec, packages)):
        raise not_installed(name)


def not_installed(name: Literal["openvino", "tensorflow"]) -> RuntimeUnavailable:
    """Returns the error that names the command which installs a runtime."""
    return RuntimeUnavailable(f"The runtime {name} is not installed. Install it with: {_INSTALL[name]}")


def open_runtime(bundle: Bundle, choice: Choice = "auto", threads: int = 1, streams: int = 1) -> Runtime:
    """Loads the network of a verified bundle.

    Args:
        bundle: Where the artefacts are.
        choice: Which runtime; `auto` takes OpenVINO when the bundle carries it.
        threads: CPU threads of the runtime, at least 1.
        streams: Inferences at a time, among which OpenVINO shares the threads, at least 1; TensorFlow has one.

    Raises:
        RuntimeUnavailable: The bundle has no artefact for the runtime, or its package is not installed.
        InvalidBundle: The artefact does not hold a network of the contract's shape.
    """
    name = choose(bundle, choice)
    artefact = bundle.artefact(_PREFIX[name])
    assert artefact is not None  # noqa: S101 -- `choose` has found it
    # Imported here so that serving needs the chosen framework only.
    if name == "openvino":
        from brainmri.inference.openvino_runtime import OpenVINORuntime  # noqa: PLC0415

        return OpenVINORuntime(bundle, artefact, threads, streams)
    from brainmri.inference.tensorflow_runtime import TensorFlowRuntime  # noqa: PLC0415

    return TensorFlowRuntime(bundle, artefact, threads)
