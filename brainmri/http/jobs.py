"""/jobs: bulk scoring that takes longer than a request may. Make one, look how far it is, read its rows, delete it."""

import secrets
from collections.abc import AsyncGenerator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from brainmri.batching.call import Deadline
from brainmri.batching.engine import Engine
from brainmri.blocking import Stop, Threads
from brainmri.bulk.archives.archive import open_archive
from brainmri.bulk.jobs.inputs import resolved_below
from brainmri.bulk.jobs.job import ScoringJob
from brainmri.bulk.jobs.record import ENDED, JobSpec, Source, now
from brainmri.bulk.jobs.store import JobStore
from brainmri.bulk.rows import json_line
from brainmri.bulk.serving import Bulk
from brainmri.errors import JobUnfinished, MalformedRequest
from brainmri.http.bulk_schemas import (
    NDJSON,
    PARQUET,
    BulkErrorBody,
    JobBody,
    JobsBody,
    JobSourceBody,
    PathRequest,
)
from brainmri.http.predict import json_response
from brainmri.model.contract import NOTICE
from brainmri.model.predictor import Predictor
from brainmri.observe.metrics import Metrics
from brainmri.settings import Settings
from brainmri.web.body import BodyLimits, read_body
from brainmri.web.call import cancel_on_disconnect, force_of
from brainmri.web.spool import receive_archive
from brainmri.web.upload import content_type

_MOST_JSON_BYTES = 64 * 2**10
_ROWS_AT_ONCE = 256


class Jobs:
    """The handlers.

    Args:
        engine: Whose models may be chosen.
        metrics: The metrics of this process.
        settings: Limits.
        store: Where jobs are kept.
        bulk: What uploads to refuse, and the threads that read them.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        settings: Settings,
        store: JobStore,
        bulk: Bulk,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._settings = settings
        self._store = store
        self._bulk = bulk

    async def create(self, request: Request) -> Response:
        """Makes a job of an upload, or of a path below the input root."""
        query = request.query_params
        predictor = self._engine.models.get(query.get("model", ""), query.get("version", ""))
        force = force_of(request)
        await self._bulk.job_threads.run(self._store.require_room, _owner(request))
        with self._store.incoming() as folder:
            if content_type(request) == "application/json":
                source = Source(path=await self._read_path(request))
            else:
                source = await self._receive(request, folder)
            spec = _spec(_owner(request), source, predictor, force)
            job = await self._bulk.job_threads.run(self._store.publish, folder, spec)
        answer = json_response(self._body(job))
        answer.status_code = 202
        # Relative, as the server does not know under which path a proxy shows it.
        answer.headers["Location"] = f"jobs/{job.spec.id}"
        return answer

    async def list(self, request: Request) -> Response:
        """Tells which jobs the caller has."""
        jobs = await self._bulk.job_threads.run(self._store.of, _owner(request))
        return json_response(JobsBody(jobs=[self._body(job) for job in jobs]))

    async def show(self, request: Request) -> Response:
        """Tells how far a job is."""
        return json_response(self._body(await self._find(request)))

    async def delete(self, request: Request) -> Response:
        """Cancels a job, and removes what is kept of it."""
        job = await self._find(request)
        await self._bulk.job_threads.run(self._store.delete, job)
        if job.status.state not in ENDED:
            self._metrics.count_job("cancelled")
        return Response(status_code=204)

    async def results(self, request: Request) -> Response:
        """Sends the rows of a job that succeeded."""
        media = _wanted_media(request)
        job = await self._find(request)
        if job.status.state != "succeeded":
            raise JobUnfinished(_unfinished(job))
        path = job.run.results("parquet")
        try:
            if media == PARQUET:
                found = await self._bulk.job_threads.run(path.stat)
                return FileResponse(path, media_type=PARQUET, filename=f"{job.spec.id}.parquet", stat_result=found)
            # Opened now, so that a job that is deleted meanwhile is still sent as a whole.
            file = await self._bulk.job_threads.run(pq.ParquetFile, path)
        except FileNotFoundError:
            # Deleted since it was found: this says so.
            await self._find(request)
            raise
        return StreamingResponse(
            _lines(file, self._bulk.job_threads), media_type=NDJSON, headers={"X-Accel-Buffering": "no"}
        )

    async def _find(self, request: Request) -> ScoringJob:
        return await self._bulk.job_threads.run(self._store.get, request.path_params["id"], _owner(request))

    def _body(self, job: ScoringJob) -> JobBody:
        return _job_body(job, job.expires(self._store.limits.ttl_s))

    async def _read_path(self, request: Request) -> str:
        limits = BodyLimits(
            _MOST_JSON_BYTES,
            self._settings.upload_idle_timeout_s,
            Deadline.after(self._settings.request_timeout_s),
        )
        try:
            path = PathRequest.model_validate_json(await read_body(request, limits)).path
        except ValidationError as error:
            raise MalformedRequest(
                'The body is not a JSON object with a path alone. Send {"path": "folder"}, or upload an archive.'
            ) from error
        await self._bulk.job_threads.run(resolved_below, self._settings.jobs_input_root, path)
        return path

    async def _receive(self, request: Request, folder: Path) -> Source:
        upload = folder / "upload"
        with upload.open("xb+") as file:
            is_form = await receive_archive(request, file, folder, self._settings, self._bulk.threads)
            # Refused now, when somebody hears it, and not when the job's turn comes.
            stop = Stop()
            deadline = Deadline.after(self._settings.bulk_timeout_s)
            await cancel_on_disconnect(request, deadline, self._bulk.threads.run(self._check, upload, stop, stop=stop))
        return Source(is_form=is_form)

    def _check(self, upload: Path, stop: Stop) -> None:
        with upload.open("rb") as file, open_archive(file, self._bulk.archives, stop):
            pass


def _job_body(job: ScoringJob, expires: datetime | None) -> JobBody:
    spec, status = job.spec, job.status
    error = status.error
    return JobBody(
        id=spec.id,
        state=status.state,
        source=JobSourceBody(kind="upload" if spec.source.path is None else "path", path=spec.source.path),
        model=f"{spec.model_name}:{spec.model_version}",
        created=spec.created.isoformat(timespec="seconds"),
        started=_iso(status.started),
        ended=_iso(status.ended),
        expires=_iso(expires),
        images=status.images,
        done=status.done,
        failed=status.failed,
        progress=round(status.done / status.images, 4) if status.images else 0.0,
        error=None if error is None else BulkErrorBody(code=error.code, message=error.message),
        notice=NOTICE,
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def _spec(owner: str | None, source: Source, predictor: Predictor, force: bool) -> JobSpec:
    contract = predictor.contract
    return JobSpec(
        id=secrets.token_hex(16),
        owner=owner,
        created=now(),
        source=source,
        model_name=contract.name,
        model_version=contract.version,
        force=force,
    )


def _owner(request: Request) -> str | None:
    name: str | None = getattr(request.state, "key_name", None)
    return name


def _wanted_media(request: Request) -> str:
    """Returns what the query asks for, or else the first known type that `Accept` names, or else NDJSON."""
    known = {"ndjson": NDJSON, "parquet": PARQUET}
    if (form := request.query_params.get("format")) is not None:
        if form not in known:
            raise MalformedRequest(f"The format is {form[:40]!r}. Ask for one of {', '.join(known)}.")
        return known[form]
    accepted = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    return next((media for media in accepted if media in known.values()), NDJSON)


def _unfinished(job: ScoringJob) -> str:
    if job.status.error is not None:
        return f"The job failed: {job.status.error.message}"
    return f"The job is {job.status.state}. Ask for its results when its state is 'succeeded'."


async def _lines(file: pq.ParquetFile, threads: Threads) -> AsyncGenerator[bytes, None]:
    pieces = _pieces(file)
    try:
        while (piece := await threads.run(next, pieces, b"")) != b"":
            yield piece
    finally:
        file.close()


def _pieces(file: Any) -> Iterator[bytes]:
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        yield b"".join(json_line(row) for row in batch.to_pylist())
