"""Ray Serve on one machine: one replica with its dynamic batching."""

import signal

import numpy as np
import ray
from network import MAX_BATCH, PORT, Network, answer, read, tensor
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Peer:
    def __init__(self) -> None:
        self.network = Network()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def run(self, tensors: list) -> list:
        return [answer(row) for row in self.network.probabilities(np.stack(tensors))]

    async def __call__(self, request: Request) -> JSONResponse:
        if request.url.path == "/ready":
            return JSONResponse({"ready": True})
        body = await request.body()
        # Not a dictionary: that is answered in chunks, which cost client and server more.
        return JSONResponse(await self.run(read(body) if request.url.path == "/predict" else tensor(body)))


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Peer.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
