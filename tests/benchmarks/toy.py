"""Small servers on loopback ports that answer as they are told, for tests of the load generator."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc


@dataclass
class Toy:
    """A running server.

    Attributes:
        port: On the loopback address.
        received: Every request's body, in the order of their ends.
        connections: How many were made.
    """

    port: int = 0
    received: list[bytes] = field(default_factory=list)
    connections: int = 0


def response(status: int, body: bytes, headers: str = "") -> bytes:
    """Returns a whole HTTP answer."""
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


@contextmanager
def http_server(answer: Callable[[bytes], bytes | None], delay_s: float = 0) -> Iterator[Toy]:
    """An HTTP server; `answer` makes the whole response from a body, None closes the connection instead."""
    toy, loop = Toy(), asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        toy.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                toy.received.append(body)
                await asyncio.sleep(delay_s)
                if (reply := answer(body)) is None:
                    break
                # In two pieces, as a network may deliver them.
                writer.write(reply[:20])
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(reply[20:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    toy.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield toy
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end_tasks() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def grpc_server(path: str, answer: Callable[[bytes, grpc.ServicerContext], bytes]) -> Iterator[Toy]:
    """A gRPC server of one method, `/service/method`, on serialized messages."""
    toy = Toy()

    def call(message: bytes, context: grpc.ServicerContext) -> bytes:
        toy.received.append(message)
        return answer(message, context)

    _, service, method = path.split("/")
    methods = {method: grpc.unary_unary_rpc_method_handler(call)}
    handler = grpc.method_handlers_generic_handler(service, methods)
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    toy.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield toy
    finally:
        server.stop(0).wait(10)
