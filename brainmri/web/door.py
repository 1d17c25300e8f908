"""Refuses work at the door while the queue has no place left, for a fraction of what reading it would cost."""

import re
from contextlib import ExitStack

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmri.batching.engine import Engine
from brainmri.errors import BrainMRIError
from brainmri.web.failures import failure

_WORK = re.compile(
    r"/predict|/predict_batch|/explain|/report|/v1/models/[^/]+(/versions/[^/]+)?:(predict|explain)|/v2/models/.+/infer"
)


class DoorMiddleware:
    """Answers requests for predictions that no queue could take, whatever they ask for; hands on all others.

    Under overload most requests end here, and what each of them costs is taken from those that are answered. So it
    stands in front of routing and of the body. Refusals that depend on a request's own deadline or priority come later.

    Args:
        app: What answers the others.
        engine: Whose queue it is.
    """

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""
        if scope["type"] != "http" or scope["method"] != "POST" or not _WORK.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        with ExitStack() as inside:
            try:
                inside.enter_context(self._engine.let_in())
            except BrainMRIError as error:
                await failure(Request(scope), error)(scope, receive, send)
                return
            await self._app(scope, receive, send)
