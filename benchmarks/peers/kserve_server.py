"""KServe's Python server, unbatched: JPEG as base64 in JSON (it takes binary strings for UTF-8), tensors over gRPC."""

import base64

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from network import GRPC_PORT, LABELS, PORT, Network, read
from starlette.concurrency import run_in_threadpool

network = Network(callers=2)


class Peer(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: dict | None = None, response_headers: dict | None = None
    ) -> InferResponse:
        only = payload.inputs[0]
        likely = await run_in_threadpool(self._run, only)
        probabilities = InferOutput("probabilities", list(likely.shape), "FP32")
        probabilities.set_data_from_numpy(likely, binary_data=self.name != "image")
        outputs = [probabilities]
        if self.name == "image":
            labels = np.array([LABELS[best] for best in likely.argmax(axis=1)], object)
            outputs.append(InferOutput("label", [len(labels)], "BYTES"))
            outputs[-1].set_data_from_numpy(labels, binary_data=False)
        return InferResponse(payload.id or "0", self.name, outputs)

    def _run(self, only) -> np.ndarray:
        content = only.as_numpy()
        if self.name == "image":
            return network.probabilities(np.stack([read(base64.b64decode(image)) for image in content.ravel()]))
        return network.probabilities(np.asarray(content, np.uint8).reshape(-1, 299, 299, 3))


if __name__ == "__main__":
    server = ModelServer(http_port=PORT, grpc_port=GRPC_PORT, workers=1, enable_latency_logging=False)
    server.start([Peer("image"), Peer("brain_mri")])
