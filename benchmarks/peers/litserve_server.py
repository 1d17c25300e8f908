"""LitServe with batching: decode in the worker, one batch at a time."""

import litserve
import numpy as np
from fastapi import Request
from network import MAX_BATCH, PORT, Network, answer, read, tensor


class Peer(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.network = Network()

    def decode_request(self, request: Request) -> np.ndarray:
        if "image" in request:
            return read(request["image"].file.read())
        return tensor(request["tensor"].file.read())

    def batch(self, inputs: list) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, images: np.ndarray) -> np.ndarray:
        # A batch of one is not batched at all by some versions.
        return self.network.probabilities(images if images.ndim == 4 else images[None])

    def unbatch(self, output: np.ndarray) -> list:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict:
        return answer(output)


if __name__ == "__main__":
    api = Peer(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
