"""POST /report: what the model says of one image or several, as a document for people."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from brainmri.batching.call import Call
from brainmri.batching.engine import Engine
from brainmri.blocking import Threads
from brainmri.bulk.quality import folder_label
from brainmri.errors import BrainMRIError, MalformedRequest
from brainmri.http.predict import call_by_query, require_an_answer
from brainmri.model.heat_picture import Style
from brainmri.model.predictor import Prediction
from brainmri.observe.metrics import Metrics
from brainmri.report.document import Entry, Report, entry_of, picture_side, report_of, wanted
from brainmri.report.html import html
from brainmri.settings import Settings
from brainmri.web.call import cancel_on_disconnect
from brainmri.web.upload import read_named_images

FORMS = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
"""Value of the parameter `format` to media type; the first is the default."""

LABELS_FROM = ("parent-folder",)
"""Values of the parameter `labels_from`."""

Upload = tuple[str, bytes | BrainMRIError]
"""Name of a file, and its content or what is wrong with it."""


@dataclass(frozen=True)
class _Asked:
    """What a request asks for besides its images."""

    form: str
    style: Style
    labelled: bool
    label: str | None

    @classmethod
    def of(cls, request: Request) -> "_Asked":
        query = request.query_params
        form = _chosen(query.get("format", next(iter(FORMS))), tuple(FORMS), "format")
        labels = query.get("labels_from")
        labelled = labels is not None and bool(_chosen(labels, LABELS_FROM, "labels_from"))
        return cls(form, Style.of(query.get("opacity"), query.get("palette")), labelled, query.get("label"))


def report_routes(engine: Engine, metrics: Metrics, settings: Settings) -> list[BaseRoute]:
    """Returns the route.

    Args:
        engine: Answers for the images, and draws them as it decodes them.
        metrics: What counts.
        settings: Limits.
    """
    threads = Threads("report", 1)

    async def report(request: Request) -> Response:
        asked, call = _Asked.of(request), call_by_query(request, engine, settings)
        explain = wanted(call.predictor, asked.label)
        uploads = await read_named_images(request, settings, call.deadline)
        side = picture_side(len(uploads))
        work = _Work(engine, metrics, threads, replace(call, explain=explain, preview_side=side), asked, side)
        content = await cancel_on_disconnect(request, call.deadline, work.document(uploads, settings.novelty_policy))
        disposition = f'attachment; filename="report.{asked.form}"'
        return Response(content, media_type=FORMS[asked.form], headers={"Content-Disposition": disposition})

    return [Route("/report", report, methods=["POST"])]


@dataclass(frozen=True)
class _Work:
    """The way of one report, from its images to its document."""

    engine: Engine
    metrics: Metrics
    threads: Threads
    call: Call
    asked: _Asked
    side: int

    async def document(self, uploads: list[Upload], policy: str) -> bytes:
        """Returns the document."""
        answers = await self._answers(uploads)
        # One after the other: a caller that goes waits for one image at most.
        named = zip(uploads, answers, strict=True)
        entries = [await self.threads.run(self._entry, name, answer) for (name, _), answer in named]
        return await self.threads.run(self._written, entries, policy)

    async def _answers(self, uploads: list[Upload]) -> list[Prediction | BrainMRIError]:
        call = self.call
        images = [content for _, content in uploads if isinstance(content, bytes)]
        answered = iter(await self.engine.predict_many(call, images))
        answers = [next(answered) if isinstance(content, bytes) else content for _, content in uploads]
        require_an_answer(answers)
        for answer in answers:
            if isinstance(answer, Prediction):
                self.metrics.observe_prediction(answer, call.record)
            else:
                self.metrics.count_error(answer)
        return answers

    def _entry(self, name: str, answer: Prediction | BrainMRIError) -> Entry:
        truth = folder_label(name, self.call.predictor.contract.classes) if self.asked.labelled else None
        return entry_of(name, answer, self.asked.style, self.side, truth)

    def _written(self, entries: list[Entry], policy: str) -> bytes:
        asked, made = self.asked, datetime.now(UTC)
        told = report_of(self.call.predictor, entries, made, policy=policy, style=asked.style, labelled=asked.labelled)
        return _writer(asked.form)(told)


def _writer(form: str) -> Callable[[Report], bytes]:
    if form == "html":
        return lambda report: html(report).encode()
    # ReportLab takes half a second to import, and not every server writes PDF.
    from brainmri.report.pdf import pdf  # noqa: PLC0415

    return pdf


def _chosen(value: str, known: tuple[str, ...], name: str) -> str:
    if value not in known:
        listed = ", ".join(known)
        raise MalformedRequest(f"The parameter {name} is {value[:40]!r}. Choose one of {listed}.", limit=listed)
    return value
