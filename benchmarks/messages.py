"""Whole requests, made before anything is measured."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from loadtests.pictures import Picture, multipart

INFER = "/inference.GRPCInferenceService/ModelInfer"

_BOUNDARY = "brainmri-benchmark-boundary"


def upload(image: bytes) -> bytes:
    """Returns `POST /predict` with one file in the field `image`."""
    return form_upload("/predict", "image", [image])


def batch_upload(images: Sequence[bytes]) -> bytes:
    """Returns `POST /predict_batch` with files in the field `images`."""
    return form_upload("/predict_batch", "images", images)


def form_upload(path: str, field: str, files: Sequence[bytes]) -> bytes:
    """Returns a `POST` of a form with files in one field."""
    pictures = [Picture(str(number), file) for number, file in enumerate(files)]
    return post(path, multipart(field, pictures, _BOUNDARY), f"multipart/form-data; boundary={_BOUNDARY}")


def rest_tensor(model: str, images: NDArray[np.uint8]) -> bytes:
    """Returns `POST /v2/models/{model}/infer` with uint8 `[B, 299, 299, 3]` by the binary extension, both ways."""
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "UINT8",
                    "shape": list(images.shape),
                    "parameters": {"binary_data_size": images.nbytes},
                }
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    extra = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return post(f"/v2/models/{model}/infer", head + images.tobytes(), "application/octet-stream", extra)


def grpc_tensor(model: str, images: NDArray[np.uint8]) -> bytes:
    """Returns a serialized `ModelInferRequest` with uint8 `[B, 299, 299, 3]` as raw contents."""
    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="image", datatype="UINT8")
    tensor.shape.extend(images.shape)
    request.raw_input_contents.append(images.tobytes())
    message: bytes = request.SerializeToString()
    return message


def post(path: str, body: bytes, content_type: str, extra: str = "") -> bytes:
    """Returns a `POST`; `extra` are further lines of the head, each with its line end."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body
