"""The routes of jobs, whether or not the server keeps any."""

from typing import NoReturn

from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from brainmri.api.slots import Slots
from brainmri.errors import JobsDisabled
from brainmri.inference.engine import Engine
from brainmri.jobs.bulk import Bulk
from brainmri.metrics import Metrics
from brainmri.settings import Settings


def job_routes(engine: Engine, metrics: Metrics, settings: Settings, bulk: Bulk, slots: Slots) -> list[BaseRoute]:
    """Returns the routes of jobs; without jobs they all say so.

    Args:
        engine: Whose models may be chosen.
        metrics: What counts.
        settings: Limits.
        bulk: Where jobs are kept, if the server keeps any.
        slots: How many uploads there may be, shared with `/score`.
    """
    if bulk.store is None:
        return [
            Route("/jobs", _disabled, methods=["GET", "POST"]),
            Route("/jobs/{id}", _disabled, methods=["GET", "DELETE"]),
            Route("/jobs/{id}/results", _disabled, methods=["GET"]),
        ]
    from brainmri.api.jobs import Jobs  # noqa: PLC0415 -- brings pyarrow, 60 MB of memory

    return Jobs(engine, metrics, settings, bulk.store, bulk.archives, slots).routes()


async def _disabled(_: Request) -> NoReturn:
    raise JobsDisabled("This server keeps no jobs. Use /score, or ask whoever runs it to set BRAINMRI_JOBS_DIR.")
