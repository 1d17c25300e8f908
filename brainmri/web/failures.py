"""Errors as HTTP answers: the status, the body in the shape of the path's protocol, and the headers that go with it."""

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from brainmri.errors import (
    STATUS,
    BrainMRIError,
    InvalidInput,
    NotReady,
    Overloaded,
    UnsupportedEncoding,
    UploadStalled,
    retry_after,
    status_of,
)
from brainmri.model.predictor import Prediction
from brainmri.web.schemas import ErrorBody, error_body, error_content, plain_error_body

_logger = logging.getLogger(__name__)

_RETRY_S = {STATUS[kind].http: retry_after(kind) for kind in (Overloaded, NotReady)}
"""Status to the seconds of the error that it stands for."""


def failure_headers(error: BrainMRIError) -> dict[str, str]:
    """Returns the headers that tell a client what to do about an error."""
    if (seconds := retry_after(error)) is not None:
        return {"Retry-After": str(seconds)}
    match error:
        case UnsupportedEncoding():
            return {"Accept-Encoding": "identity"}  # RFC 9110, section 15.5.16
        case UploadStalled():
            return {"Connection": "close"}  # RFC 9110, section 15.5.9
    return {}


def failure(request: Request, error: BrainMRIError) -> JSONResponse:
    """Returns the answer to a request that failed as expected."""
    status = status_of(error).http
    request.state.error = error
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _logger.error("Request %s failed: %s", request.state.request_id, error.message)
    return _answer(request, error_body(error, request.state.request_id), status, failure_headers(error))


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, BrainMRIError)  # noqa: S101 -- registered for this class
    return failure(request, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this class
    status = HTTPStatus(error.status_code)
    message = error.detail
    if message == HTTPStatus.NOT_FOUND.phrase:
        message = "Nothing is at this path. The page for people is at /, and the interface is described at /docs."
    body = plain_error_body(status.name.lower(), message, request.state.request_id)
    return _answer(request, body, status, dict(error.headers or {}))


async def _gone(request: Request, _: Exception) -> Response:
    # Nobody reads this; 499 is what proxies log for it.
    _logger.info("The client of request %s left before its answer", request.state.request_id)
    return Response(status_code=499)


HANDLERS: dict[type[Exception], ExceptionHandler] = {
    BrainMRIError: _expected,
    HTTPException: _http,
    ClientDisconnect: _gone,
}
"""What an application does with the errors that its endpoints raise."""


def _answer(request: Request, body: ErrorBody, status: int, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse(error_content(request.url.path, body), status, headers)


class RetryAfterMiddleware:
    """Adds `Retry-After` to refusals that lack it, as RFC 9110, section 10.2.3 has it.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection."""

        async def completed_send(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _RETRY_S:
                MutableHeaders(scope=message).setdefault("Retry-After", str(_RETRY_S[message["status"]]))
            await send(message)

        await self._app(scope, receive, completed_send)


def all_or_error(results: Sequence[Prediction | BrainMRIError], where: Callable[[int], str]) -> list[Prediction]:
    """Returns the predictions, or raises the first error.

    Args:
        results: One for each image.
        where: Names the image of an index, for what is wrong with the image itself.

    Raises:
        BrainMRIError: One of `results` is an error.
    """
    for index, result in enumerate(results):
        if isinstance(result, InvalidInput):
            raise located(result, where(index))
        if isinstance(result, BrainMRIError):
            raise result
    return [result for result in results if isinstance(result, Prediction)]


def located(error: InvalidInput, where: str) -> InvalidInput:
    """Returns a like error whose message begins with `where`."""
    return type(error)(f"{where}: {error.message}", limit=error.limit)
