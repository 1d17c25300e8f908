"""What every runtime offers: a loaded network that turns images into logits and features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from brainmri.model.contract import Contract
from brainmri.model.runtimes.network_shape import output_names


@dataclass(frozen=True)
class Output:
    """What the network says about a batch of B images.

    Attributes:
        logits: float32 `[B, 4]`, in the order of the contract's labels, before temperature scaling.
        features: float32 `[B, D]`, pooled over the picture, for the novelty detector.
        feature_map: float32 `[B, h, w, M]`, for heat maps; None when the bundle explains nothing.
    """

    logits: NDArray[np.float32]
    features: NDArray[np.float32]
    feature_map: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Any], contract: Contract) -> "Output":
        """Returns copies of the arrays that a network of this contract has answered with.

        Args:
            arrays: Output name to array, in any float type.
            contract: Says whether there is a feature map.
        """
        return cls(*(np.array(arrays[name], np.float32) for name in output_names(contract)))

    @classmethod
    def join(cls, parts: Sequence["Output"]) -> "Output":
        """Returns the parts as one output, in their order; at least one part."""
        if len(parts) == 1:
            return parts[0]
        logits, features = [part.logits for part in parts], [part.features for part in parts]
        maps = [part.feature_map for part in parts if part.feature_map is not None]
        return cls(np.concatenate(logits), np.concatenate(features), np.concatenate(maps) if maps else None)

    def rows(self, start: int, stop: int) -> "Output":
        """Returns the images `start` to `stop - 1`, without a copy."""
        feature_map = None if self.feature_map is None else self.feature_map[start:stop]
        return Output(self.logits[start:stop], self.features[start:stop], feature_map)


@dataclass(frozen=True)
class RuntimeInfo:
    """Which runtime answers.

    Attributes:
        name: Runtime and precision, such as `openvino-int8`.
        precision: What it computes in or, of TensorFlow, stores: `int8`, `bf16`, `f32`, `f16`.
        threads: CPU threads that it uses.
        batch_sizes: The batch sizes that it has compiled, ascending; empty if any size is as good.
        streams: Inferences that it runs at a time.
        version: Of the package that runs the network.
        device: `cpu` or `cuda`.
    """

    name: str
    precision: str
    threads: int
    batch_sizes: tuple[int, ...] = ()
    streams: int = 1
    version: str = ""
    device: str = "cpu"


class Runtime(Protocol):
    """One loaded network. Safe to call from several threads; calls may wait for each other."""

    @property
    def info(self) -> RuntimeInfo:
        """Which runtime answers."""
        ...

    def infer(self, images: NDArray[np.uint8]) -> Output:
        """Runs the network on uint8 `[B, 299, 299, 3]` with values in [0, 255]."""
        ...
