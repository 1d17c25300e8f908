"""BentoML as its documentation shows it: batchable endpoints of one class, images decoded by BentoML."""

from pathlib import Path

import bentoml
import numpy as np
from network import MAX_BATCH, Network, answer, read


@bentoml.service(traffic={"timeout": 120}, workers=1)
class Peer:
    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def predict(self, images: list[Path]) -> list[dict]:
        tensors = np.stack([read(path.read_bytes()) for path in images])
        return [answer(row) for row in self.network.probabilities(tensors)]

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def tensor(self, images: np.ndarray) -> list[dict]:
        return [answer(row) for row in self.network.probabilities(images.astype(np.uint8))]


if __name__ == "__main__":
    import os
    import sys
    from network import PORT

    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = ["-m", "bentoml", "serve", "bentoml_server:Peer", "--host", "127.0.0.1", "--port", str(PORT)]
    os.execv(sys.executable, [sys.executable, *command])
