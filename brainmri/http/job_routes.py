"""The routes of jobs, whether or not the server keeps any."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.engine import Engine
from brainmri.bulk.serving import Bulk
from brainmri.errors import JobsDisabled
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.storage import told_disk_errors

_Handler = Callable[[Request], Awaitable[Response]]


def job_routes(engine: Engine, metrics: Metrics, settings: Settings, bulk: Bulk) -> list[BaseRoute]:
    """Returns the routes of jobs; without jobs they all say so.

    Args:
        engine: Whose models may be chosen.
        metrics: The metrics of this process.
        settings: Limits.
        bulk: Where jobs are kept, if the server keeps any.
    """
    create: _Handler = _disabled
    show_all = show = delete = results = create
    if bulk.store is not None:
        from brainmri.http.jobs import Jobs  # noqa: PLC0415 -- brings pyarrow, 60 MB of memory

        jobs = Jobs(engine, metrics, settings, bulk.store, bulk)
        handlers = (jobs.create, jobs.list, jobs.show, jobs.delete, jobs.results)
        create, show_all, show, delete, results = map(_with_disk_errors_told, handlers)
    return [
        Route("/jobs", create, methods=["POST"]),
        Route("/jobs", show_all, methods=["GET"]),
        Route("/jobs/{id}", show, methods=["GET"]),
        Route("/jobs/{id}", delete, methods=["DELETE"]),
        Route("/jobs/{id}/results", results, methods=["GET"]),
    ]


def _with_disk_errors_told(handle: _Handler) -> _Handler:
    async def handle_with_disk(request: Request) -> Response:
        with told_disk_errors():
            return await handle(request)

    return handle_with_disk


async def _disabled(_: Request) -> Response:
    raise JobsDisabled("This server keeps no jobs. Use /score, or ask whoever runs it to set BRAINMRI_JOBS_DIR.")
