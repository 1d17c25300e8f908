"""The network as a peer's own Python code runs it: a released bundle's OpenVINO IR, or its Keras weights on TensorFlow.

Runs in a peer's environment, where nothing of this project is installed. What to serve comes from the environment:
PEER_BUNDLE (folder), PEER_RUNTIME (openvino, tensorflow), PEER_THREADS, PEER_PORT, PEER_GRPC_PORT.
"""

import io
import os
import queue
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = ("glioma", "meningioma", "notumor", "pituitary")
SIDE = 299
MAX_BATCH = 8
"""What servers that batch are told, as BRAINMRI_MAX_BATCH_SIZE is by default."""

PORT = int(os.environ.get("PEER_PORT", "0"))
GRPC_PORT = int(os.environ.get("PEER_GRPC_PORT", "0"))


class Network:
    """Loaded and warm; safe to call from several threads.

    Args:
        callers: Threads that will call it at the same time: OpenVINO shares its threads among so many streams.
    """

    def __init__(self, callers: int = 1) -> None:
        bundle, threads = Path(os.environ["PEER_BUNDLE"]), int(os.environ.get("PEER_THREADS", "2"))
        if os.environ["PEER_RUNTIME"] == "openvino":
            self._run = _openvino(bundle / "openvino-int8", threads, min(callers, threads))
        else:
            self._run = _tensorflow(bundle / "keras-f16", threads)
        for size in range(1, MAX_BATCH + 1):
            self.probabilities(np.zeros((size, SIDE, SIDE, 3), np.uint8))

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the softmax `[B, 4]` of uint8 `[B, 299, 299, 3]`."""
        logits = self._run(images)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return likely


def read(image: bytes) -> NDArray[np.uint8]:
    """Returns a JPEG as the network takes it, uint8 `[299, 299, 3]`: scaled to fit, centred on black."""
    with Image.open(io.BytesIO(image)) as picture:
        grey = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        scale = SIDE / max(grey.size)
        width, height = round(grey.width * scale), round(grey.height * scale)
        pixels = np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))
    tensor = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    tensor[top : top + height, left : left + width] = pixels[:, :, None] if pixels.ndim == 2 else pixels
    return tensor


def tensor(content: bytes) -> NDArray[np.uint8]:
    """Returns raw bytes as one image, uint8 `[299, 299, 3]`."""
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE, 3)


def answer(likely: NDArray[np.float32]) -> dict[str, Any]:
    """Returns one row of probabilities `[4]` as JSON."""
    row = [float(value) for value in likely]
    return {"label": LABELS[int(np.argmax(likely))], "probabilities": dict(zip(LABELS, row, strict=True))}


def _openvino(folder: Path, threads: int, streams: int) -> Any:
    import openvino  # noqa: PLC0415 -- only the chosen runtime is imported

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", options)
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for _ in range(streams):
        requests.put(compiled.create_infer_request())

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        request = requests.get()
        try:
            return np.array(request.infer({0: images}, share_inputs=True)["logits"], np.float32)
        finally:
            requests.put(request)

    return run


def _tensorflow(folder: Path, threads: int) -> Any:
    import keras  # noqa: PLC0415 -- only the chosen runtime is imported
    import tensorflow  # noqa: PLC0415

    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    network = keras.models.model_from_json((folder / "model.json").read_text())
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        network.set_weights([stored[name].astype(np.float32) for name in sorted(stored.files)])
    signature = [tensorflow.TensorSpec((None, SIDE, SIDE, 3), tensorflow.uint8)]
    # As a SavedModel would run: one traced function, no Python for each layer.
    function = tensorflow.function(lambda images: network(images, training=False)["logits"], input_signature=signature)
    return lambda images: function(tensorflow.constant(images)).numpy()
