"""The systems that are compared: what each needs installed, how it starts, and what a request to it looks like."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.messages import INFER, form_upload, grpc_tensor, post
from benchmarks.traffic import Item, Reader

Wire = Literal["JPEG", "tensor"]
WIRES: tuple[Wire, ...] = ("JPEG", "tensor")

RUNTIMES = ("openvino==2026.4.1", "keras==3.15.1", "tensorflow==2.21.0", "pillow>=12", "numpy")
"""What every peer's environment has, in the versions of this project's lock."""


@dataclass(frozen=True)
class Endpoint:
    """Where one kind of input goes.

    Attributes:
        request: Makes a whole request (HTTP) or a message (gRPC) from a file or a tensor `[299, 299, 3]`.
        reader: How to read an answer.
        method: Path of a gRPC method; empty for HTTP.
    """

    request: Callable[[bytes, NDArray[np.uint8]], bytes]
    reader: Reader = "label"
    method: str = ""

    def item(self, file: bytes, tensor: NDArray[np.uint8], expected: str) -> Item:
        """Returns the request for one image."""
        return Item(self.request(file, tensor), expected)


@dataclass(frozen=True)
class System:
    """One serving system that is compared.

    Attributes:
        name: For the tables.
        module: File of this folder that serves, without suffix.
        requirements: What its environment needs beside `RUNTIMES`.
        ready: Path that answers 200 when it can predict.
        jpeg: Where files go.
        tensor: Where tensors go.
        python: Version of its interpreter.
    """

    name: str
    module: str
    requirements: Sequence[str]
    ready: str
    jpeg: Endpoint
    tensor: Endpoint
    python: str = "3.11"

    def endpoint(self, wire: Wire) -> Endpoint:
        """Returns where one kind of input goes."""
        return self.jpeg if wire == "JPEG" else self.tensor

    def runs_on(self, runtime: str) -> str:
        """Returns the runtime of a run in which peers have `runtime`: our service keeps its own."""
        return runtime if self.module else "openvino"


def _octets(path: str, body: bytes) -> bytes:
    return post(path, body, "application/octet-stream")


def _json(path: str, content: object) -> bytes:
    return post(path, json.dumps(content).encode(), "application/json")


def _v2_base64(file: bytes, _: NDArray[np.uint8]) -> bytes:
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [1, 1],
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(file).decode()],
    }
    return _json("/v2/models/image/infer", {"inputs": [image]})


def _v2_binary(file: bytes, _: NDArray[np.uint8]) -> bytes:
    body = len(file).to_bytes(4, "little") + file
    image = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(body)}}
    head = json.dumps({"inputs": [image]}).encode()
    extra = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return post("/v2/models/image/infer", head + body, "application/octet-stream", extra)


_GRPC_TENSOR = Endpoint(lambda _, tensor: grpc_tensor("brain_mri", tensor[None]), "grpc_probabilities", INFER)

OURS = System(
    "brainmri",
    "",
    (),
    "/readyz",
    Endpoint(lambda file, _: form_upload("/predict", "image", [file])),
    _GRPC_TENSOR,
)

PEERS = (
    System(
        "FastAPI + uvicorn",
        "fastapi_server",
        ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "python-multipart"),
        "/ready",
        Endpoint(lambda file, _: form_upload("/predict", "image", [file])),
        Endpoint(lambda _, tensor: _octets("/tensor", tensor.tobytes())),
    ),
    System(
        "BentoML, batchable",
        "bentoml_server",
        ("bentoml==1.4.39",),
        "/readyz",
        Endpoint(lambda file, _: form_upload("/predict", "images", [file])),
        # As BentoML's own client sends arrays.
        Endpoint(lambda _, tensor: _json("/tensor", {"images": [tensor.tolist()]})),
    ),
    System(
        "LitServe",
        "litserve_server",
        ("litserve==0.2.19", "python-multipart"),
        "/health",
        Endpoint(lambda file, _: form_upload("/predict", "image", [file])),
        Endpoint(lambda _, tensor: form_upload("/predict", "tensor", [tensor.tobytes()])),
    ),
    System(
        "MLServer",
        "mlserver_server",
        # uvloop 0.22 refuses the way in which MLServer installs it.
        ("mlserver==1.7.1", "uvloop<0.22"),
        "/v2/models/brain_mri/ready",
        Endpoint(_v2_base64),
        _GRPC_TENSOR,
    ),
    System(
        "Ray Serve",
        "ray_server",
        ("ray[serve]==2.60.0",),
        "/ready",
        Endpoint(lambda file, _: _octets("/predict", file)),
        Endpoint(lambda _, tensor: _octets("/tensor", tensor.tobytes())),
    ),
    System(
        "KServe Python server",
        "kserve_server",
        ("kserve==0.21.0",),
        "/v2/models/brain_mri/ready",
        Endpoint(_v2_base64),
        _GRPC_TENSOR,
    ),
    System(
        "Triton (pytriton)",
        "triton_server",
        ("nvidia-pytriton==0.7.0",),
        "/v2/models/brain_mri/ready",
        Endpoint(_v2_binary),
        _GRPC_TENSOR,
        python="3.12",
    ),
)
