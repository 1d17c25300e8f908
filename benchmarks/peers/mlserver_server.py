"""MLServer with a runtime of our own and its adaptive batching: JPEG as base64 in JSON, tensors over gRPC."""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from network import GRPC_PORT, LABELS, MAX_BATCH, PORT, Network, read


class Peer(MLModel):
    async def load(self) -> bool:
        self.network = Network()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        likely = await asyncio.to_thread(self._run, payload)
        labels = [LABELS[best] for best in likely.argmax(axis=1)]
        outputs = [
            NumpyCodec.encode_output("probabilities", likely),
            *([StringCodec.encode_output("label", labels)] if self.name == "image" else []),
        ]
        return InferenceResponse(model_name=self.name, outputs=outputs)

    def _run(self, payload: InferenceRequest) -> np.ndarray:
        only = payload.inputs[0]
        if self.name == "image":
            return self.network.probabilities(np.stack([read(image) for image in Base64Codec.decode_input(only)]))
        return self.network.probabilities(NumpyCodec.decode_input(only).astype(np.uint8))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="mlserver-"))
    settings = {
        "host": "127.0.0.1",
        "http_port": PORT,
        "grpc_port": GRPC_PORT,
        "metrics_endpoint": None,
        # Its own process pool would copy every tensor.
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    for name in ("image", "brain_mri"):
        (folder / name).mkdir()
        model = {
            "name": name,
            "implementation": "mlserver_server.Peer",
            "max_batch_size": MAX_BATCH,
            "max_batch_time": 0.001,
        }
        (folder / name / "model-settings.json").write_text(json.dumps(model))
    mlserver = str(Path(sys.executable).with_name("mlserver"))
    os.execv(mlserver, [mlserver, "start", str(folder)])


if __name__ == "__main__":
    main()
