"""A server without a model that ends as a worker does. Usage: python -m tests.lifecycle.ending_server FD.

What started it holds the listening socket too, as the parent of a worker does.
"""

import asyncio
import signal
import socket
import sys

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from brainmri.lifecycle.listener import Listener, end_http
from brainmri.observe.metrics import process_metrics
from brainmri.settings import Settings
from brainmri.web.connection import serve_connections
from brainmri.web.connections import Connections, EndingMiddleware
from brainmri.web.middleware import RequestMiddleware

DELAY_S = 0.3


async def answer(request: Request) -> Response:
    """Takes ten milliseconds."""
    await request.body()
    await asyncio.sleep(0.01)
    return PlainTextResponse("done")


async def serve(descriptor: int) -> None:
    """Serves until SIGTERM, and then until all is answered."""
    connections, ended = Connections(Settings()), asyncio.Event()
    serve_connections(connections)
    middleware = [
        Middleware(RequestMiddleware, metrics=process_metrics()),
        Middleware(EndingMiddleware, connections=connections),
    ]
    app = Starlette(routes=[Route("/", answer, methods=["POST"])], middleware=middleware)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_keep_alive=75))

    async def end() -> None:
        await ended.wait()
        connections.ending = True
        await asyncio.sleep(DELAY_S)
        await end_http(connections, Listener(server), lambda: True, 10)
        server.should_exit = True

    with socket.socket(fileno=descriptor) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await asyncio.gather(serving, end())


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
