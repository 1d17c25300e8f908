"""Everything in which this project reaches beyond BentoML's public interface, or into the uvicorn that BentoML starts.

Whoever moves to another release of BentoML looks here; each function says what it relies on. What it starts its workers
under, circus, is touched in `brainmri/lifecycle/supervisor.py`.
"""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

QUOTING_LOGGER = "bentoml._internal.server.http_app"
"""BentoML's logger of failed requests: its traceback quotes what the caller sent, pixels included."""


def swagger_files() -> Path:
    """Returns the folder of the Swagger UI that BentoML brings."""
    import bentoml  # noqa: PLC0415 -- takes a second; only a server needs it

    return Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"


def switch_off_timeouts() -> None:
    """Takes BentoML's time limit away from the applications that are made from now on.

    Every route has a deadline of its own. BentoML's would cut long uploads off, in a shape of its own, and keeps a
    timer of each request until that is due. BentoML looks the class up in its module when it makes an application.
    """
    from bentoml._internal.server.http import traffic  # noqa: PLC0415 -- as above

    traffic.TimeoutMiddleware = lambda app, timeout: app  # type: ignore[assignment,misc,return-value]


def serve_connections_with(protocol: Callable[..., asyncio.Protocol]) -> None:
    """Makes the uvicorn of this process, which BentoML starts, serve its connections with `protocol`.

    BentoML leaves the choice of the protocol to uvicorn, and uvicorn takes whatever stands here.
    """
    import uvicorn.config  # noqa: PLC0415 -- not every command serves

    uvicorn.config.HTTP_PROTOCOLS["auto"] = protocol  # type: ignore[assignment]


def running_server() -> "uvicorn.Server | None":
    """Returns the uvicorn server of this process; None where none runs.

    BentoML does not hand out the server that it starts; the handler of SIGTERM is a method of it.
    """
    import uvicorn  # noqa: PLC0415 -- as above

    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None
