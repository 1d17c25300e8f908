"""Where the listener's results go: into a folder, or to another DICOM node by C-STORE."""

import contextlib
import logging
import socket
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, Self

import pydicom
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from brainmri import durable
from brainmri.dicom.ae_title import require_ae_title
from brainmri.errors import InvalidSettings

_logger = logging.getLogger(__name__)

_TIMEOUT_S = 30
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_WARNINGS = range(0xB000, 0xC000)
_SYNTAX = "1.2.840.10008.1.2.1"


class Outcome(Enum):
    """What became of one file."""

    DELIVERED = "delivered"
    LATER = "later"
    """The destination cannot be reached, or has no room."""
    REFUSED = "refused"
    """Trying again does not help."""


class Destination(Protocol):
    """Takes results."""

    def deliver(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Delivers whole files; yields an outcome after each, up to the first that is not delivered."""
        ...


@dataclass(frozen=True)
class FolderDestination:
    """Writes `SOPInstanceUID.dcm` files.

    Attributes:
        folder: Is made if it does not exist.
    """

    folder: Path

    def deliver(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Copies files durably; a disk that is full is tried again."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                uid = pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID
                durable.write_bytes(self.folder / f"{uid}.dcm", file.read_bytes())
                yield Outcome.DELIVERED
        except OSError as error:
            _logger.warning("Results cannot be written to %s: %s", self.folder, error.strerror)
            yield Outcome.LATER


@dataclass(frozen=True)
class NodeDestination:
    """Sends results to a storage SCP.

    Attributes:
        called: Its AE title.
        host: Name or address.
        port: TCP port.
        calling: Our AE title.
    """

    called: str
    host: str
    port: int
    calling: str

    @classmethod
    def of(cls, text: str, calling: str) -> Self:
        """Reads `AET@HOST:PORT`.

        Raises:
            InvalidSettings: Something else, or a title that no application entity may have.
        """
        called, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        if not (called and host and port.isdecimal() and 0 < int(port) < 65536):
            raise InvalidSettings(
                f"The destination is {text[:80]!r}. Write it as AET@HOST:PORT, such as ORTHANC@pacs:4242."
            )
        require_ae_title(called)
        return cls(called, host, int(port), calling)

    def deliver(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        """Sends files over one association."""
        entity = AE(ae_title=self.calling)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT_S
        for storage in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            entity.add_requested_context(storage, _SYNTAX)
        association = entity.associate(self.host, self.port, ae_title=self.called)
        if not association.is_established:
            _logger.warning("No association with %s at %s:%d", self.called, self.host, self.port)
            yield Outcome.LATER
            return
        try:
            for file in files:
                yield self._outcome(association, file)
        finally:
            association.release()
            cut(association.dul.socket)

    def _outcome(self, association: Association, file: Path) -> Outcome:
        try:
            status = association.send_c_store(file).get("Status")
        except ValueError:
            # The node takes no such objects at all.
            _logger.error("%s accepts no %s objects", self.called, file.stem)
            return Outcome.REFUSED
        except RuntimeError:
            return Outcome.LATER
        if status == 0 or status in _WARNINGS:
            return Outcome.DELIVERED
        if status is None or status in _OUT_OF_RESOURCES:
            return Outcome.LATER
        _logger.error("%s refuses a %s with status 0x%04X", self.called, file.stem, status)
        return Outcome.REFUSED


def cut(connection: AssociationSocket | None) -> None:
    """Ends a connection; pynetdicom itself leaves one open that its peer has ended."""
    if connection is not None and connection.socket is not None:
        with contextlib.suppress(OSError), connection.socket as peer:
            peer.shutdown(socket.SHUT_RDWR)
