"""POST /score: many images in one request, a line of JSON for each as soon as it is done, and a summary last."""

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from brainmri.batching.call import Call, Deadline, Priority
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop
from brainmri.bulk.archive_rows import ArchiveRows
from brainmri.bulk.archives.archive import Archive, open_archive
from brainmri.bulk.chosen import Choice
from brainmri.bulk.continuation import done_before, require_token, token
from brainmri.bulk.items import Item
from brainmri.bulk.rows import row_line
from brainmri.bulk.scorer import Scorer
from brainmri.bulk.series import SeriesVotes
from brainmri.bulk.serving import Bulk
from brainmri.bulk.totals import Totals
from brainmri.bulk.uploads import uploaded_items
from brainmri.errors import BrainMRIError, DeadlineExceeded, NotReady
from brainmri.http.bulk_schemas import NDJSON, summary_line
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.call import cancel_on_disconnect, force_of, record_of
from brainmri.web.spool import receive_archive, spool_file, spool_folder, told_disk_errors

_SEND_PATIENCE_S = 30.0
"""After the deadline, for a client that reads slowly to get the summary."""

_logger = logging.getLogger(__name__)


def score_routes(engine: Engine, metrics: Metrics, settings: Settings, bulk: Bulk) -> list[BaseRoute]:
    """Returns the route that answers an archive, or a form of many images.

    Args:
        engine: Whose models may be chosen.
        metrics: The metrics of this process.
        settings: Limits.
        bulk: The way to the engine, shared with jobs.
    """

    async def score(request: Request) -> Response:
        query = request.query_params
        require_token(query.get("resume"))
        force = force_of(request)
        predictor = engine.models.get(query.get("model", ""), query.get("version", ""))
        deadline = Deadline.after(settings.bulk_timeout_s)
        engine.require_room(Call(predictor, deadline, Priority.BULK))
        with ExitStack() as held:
            folder = spool_folder(settings.spool_dir)
            file = held.enter_context(spool_file(folder))
            is_form = await receive_archive(request, file, folder, settings, bulk.threads)
            stop = Stop()
            opening = open_archive(file, bulk.archives, stop)
            # To list a compressed tar takes a pass over it.
            with told_disk_errors():
                archive = await cancel_on_disconnect(request, deadline, bulk.threads.run(opening.__enter__, stop=stop))
            held.push(opening.__exit__)
            choice = Choice()
            choosing = partial(
                _chosen, archive, choice, bulk.archives.max_members, query.get("resume"), is_form=is_form
            )
            with told_disk_errors():
                items, before = await cancel_on_disconnect(request, deadline, bulk.threads.run(choosing, stop=stop))
            scorer = Scorer(bulk.limiter, predictor, metrics, record_of(request), force=force)
            rows = ArchiveRows(archive, items[before:], scorer, deadline, bulk.threads, stop)

            def resume(done: int) -> Awaitable[str]:
                return bulk.threads.run(token, archive.members, len(items), before + done)

            answer = _Answer(rows, choice.left_out, request.state.request_id, resume)
            return _RowsResponse(answer, deadline, held.pop_all())

    return [Route("/score", score, methods=["POST"])]


def _chosen(
    archive: Archive, choice: Choice, most: int, resume: str | None, *, is_form: bool
) -> tuple[list[Item], int]:
    """Returns the images of an archive, and how many of them have had their rows; takes long for many."""
    items = list(uploaded_items(archive, choice, most, is_form=is_form))
    return items, done_before(archive.members, len(items), resume)


class _Answer:
    """The lines of one answer.

    Args:
        rows: What is scored.
        left_out: How many files are not, by reason.
        request_id: For the summary.
        resume: Returns the token for what is left after so many rows.
    """

    def __init__(
        self, rows: ArchiveRows, left_out: Counter[str], request_id: str, resume: Callable[[int], Awaitable[str]]
    ) -> None:
        self._rows = rows
        self._left_out = left_out
        self._request_id = request_id
        self._resume = resume

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yields a line for each row, and the summary, also when something ends the rows early."""
        classes = self._rows.predictor.contract.classes
        begun, totals, votes = time.perf_counter(), Totals(classes), SeriesVotes(classes)
        ending: BrainMRIError | None = None
        try:
            async with aclosing(self._rows.scored()) as rows:
                async for row in rows:
                    totals.add(row.status, row.label, row.verdict, row.confidence, row.error_code)
                    votes.add(row.series, row.verdict)
                    yield row_line(row)
        except (NotReady, DeadlineExceeded) as error:
            ending = error
        seconds = time.perf_counter() - begun
        resume = None if totals.images == len(self._rows.items) else await self._resume(totals.images)
        yield self._summary(totals, votes, ending, resume, seconds)

    def _summary(
        self, totals: Totals, votes: SeriesVotes, ending: BrainMRIError | None, resume: str | None, seconds: float
    ) -> bytes:
        predictor = self._rows.predictor
        return summary_line(
            totals,
            images=len(self._rows.items),
            left_out=self._left_out,
            series=votes.verdicts(),
            error=ending,
            resume=resume,
            model=predictor.model,
            seconds=seconds,
            request_id=self._request_id,
            notice=predictor.contract.notice,
        )


class _RowsResponse(Response):
    """Streams the lines for as long as somebody reads them.

    Args:
        answer: The lines.
        deadline: When the last row is due.
        held: What is given back at the end, however it comes.
    """

    media_type = NDJSON

    def __init__(self, answer: _Answer, deadline: Deadline, held: ExitStack) -> None:
        # A proxy that gathers the answer would keep the rows from their reader.
        super().__init__(headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._answer = answer
        self._patience = Deadline.after(deadline.remaining_s + _SEND_PATIENCE_S)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        with self._held:
            try:
                await cancel_on_disconnect(Request(scope, receive), self._patience, self._send(send))
            except ClientDisconnect:
                _logger.info("The client left before the last row")
            except DeadlineExceeded:
                _logger.warning("The client reads its rows too slowly; the connection is closed")

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._answer.lines()) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
