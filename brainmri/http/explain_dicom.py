"""The answer of POST /explain as DICOM objects: PS3.18's `multipart/related`, or one object by itself."""

import secrets
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

from brainmri.dicom.source import Source, require_writer
from brainmri.errors import MalformedRequest
from brainmri.model.heat_picture import Style
from brainmri.model.predictor import Prediction, Predictor
from brainmri.web.upload import DICOM

_KINDS = ("report", "capture")


@dataclass(frozen=True)
class WantedObjects:
    """Which DICOM objects a request asks for.

    Attributes:
        kind: `report` or `capture`; all that there are if None.
    """

    kind: str | None

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """Reads a request; None for one that asks for no DICOM.

        Raises:
            MalformedRequest: There is no such object.
            DicomUnavailable: The server cannot write DICOM.
        """
        accepted = request.headers.get("accept", "")
        if DICOM not in accepted or "application/json" in accepted:
            return None
        kind = request.query_params.get("object")
        if kind is not None and kind not in _KINDS:
            known = " or ".join(_KINDS)
            raise MalformedRequest(f"There is no object {kind[:40]!r}. Choose {known}, or none for both.", limit=known)
        require_writer()
        return cls(kind)

    def needs_heat_map(self, predictor: Predictor) -> bool:
        """Tells whether the answer has a heat map; a model without any gives the report alone."""
        return self.kind == "capture" or (self.kind is None and predictor.explains)

    def response(self, source: Source, prediction: Prediction, style: Style) -> Response:
        """Writes the objects; takes some milliseconds, so call it in a thread.

        Raises:
            ImageUnreadable: The source's patient or study cannot be copied.
        """
        # highdicom takes a second to import, and is an extra.
        from brainmri.dicom.results import results_of  # noqa: PLC0415

        files = results_of(source, prediction, style).files()
        if self.kind is not None:
            return Response(files[self.kind], media_type=DICOM)
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        body = b"".join(head + file + b"\r\n" for file in files.values()) + f"--{boundary}--\r\n".encode()
        return Response(body, media_type=f'multipart/related; type="{DICOM}"; boundary={boundary}')
