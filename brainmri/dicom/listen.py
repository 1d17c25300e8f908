"""A storage SCP (PS3.4, annex B) that answers with reports and captures; an object is stored before it is accepted."""

import logging
import threading
import time
from dataclasses import dataclass
from socketserver import BaseServer
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.transport import AssociationSocket, ThreadedAssociationServer

from brainmri.dicom.ae_title import require_ae_title
from brainmri.dicom.destination import Destination, cut
from brainmri.dicom.source import read_source
from brainmri.dicom.spool import Spool
from brainmri.dicom.work import Delivering, Scoring, Worker
from brainmri.errors import InvalidInput, InvalidSettings, Overloaded, StorageUnavailable
from brainmri.model.predictor import Predictor
from brainmri.text import printable

_logger = logging.getLogger(__name__)

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
"""Statuses of C-STORE (PS3.4, table B.2-1)."""

_VERIFICATION = "1.2.840.10008.1.1"
"""SOP class of C-ECHO."""

_STORAGES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
)
"""No secondary captures: an archive that sends on what it gets would send ours back."""

_SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
]

_SPARE_CONNECTIONS = 4
"""Connections beyond the associations, so that one more is rejected with a reason instead of being cut off."""

_ENVELOPE_BYTES = 256 * 2**10
"""What PDUs, commands and negotiation may add to an object."""

_COMMENT = 64
"""Characters of an error comment."""

_PATIENCE_S = 2.0
"""How long a sender waits for room before it is put off."""

_NEGOTIATION_S, _SILENCE_S, _FAREWELL_S = 10, 60, 2


@dataclass(frozen=True)
class Node:
    """What the listener is, and whom it serves.

    Attributes:
        aet: Its AE title; calls for another one are rejected.
        host: Address to listen on.
        port: TCP port; 0 takes a free one.
        allowed: AE titles that may call.
        max_associations: At the same time.
    """

    aet: str
    host: str
    port: int
    allowed: tuple[str, ...]
    max_associations: int

    def __post_init__(self) -> None:
        """Checks the titles.

        Raises:
            InvalidSettings: A title that no AE may have, or nobody is allowed.
        """
        if not self.allowed:
            raise InvalidSettings("Nobody may call. Name the AE titles that may with --allow.")
        for title in (self.aet, *self.allowed):
            require_ae_title(title)


class Listener:
    """Accepts, scores and delivers until it is stopped.

    Args:
        node: What it is.
        predictor: Loaded and warm.
        spool: Where objects and results wait.
        destination: Where results go.
    """

    def __init__(self, node: Node, predictor: Predictor, spool: Spool, destination: Destination) -> None:
        self._node = node
        self._predictor = predictor
        self._spool = spool
        self.stopping = threading.Event()
        self._checking = threading.Lock()
        self._workers = [
            Worker("score", Scoring(spool, predictor).step, spool, self.stopping),
            Worker("deliver", Delivering(spool, destination, self.stopping).step, spool, self.stopping),
        ]
        self._entity = _entity(node)
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Begins to listen and to work; returns the port.

        Raises:
            InvalidSettings: The address cannot be listened on.
        """
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._limit),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_REJECTED, _log_rejection),
        ]
        address = (self._node.host, self._node.port)
        try:
            self._server = self._entity.make_server(address, evt_handlers=handlers, server_class=_Server)
        except OSError as error:
            raise InvalidSettings(
                f"{self._node.host}:{self._node.port} cannot be listened on: {error.strerror}. Choose another --port."
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="listen", daemon=True).start()
        for worker in self._workers:
            worker.start()
        return int(self._server.server_address[1])

    def stop(self, grace_s: float) -> bool:
        """Ends: nothing more is accepted, associations end, and the work under way is finished.

        Args:
            grace_s: Longest time for the work under way, in seconds.

        Returns:
            Whether everything ended in order; what was not done stays in the spool.
        """
        self.stopping.set()
        self._spool.wake()
        if self._server is not None:
            _end(self._server)
        ended = [worker.join(grace_s) for worker in self._workers]
        return all(ended) and not any(worker.failed for worker in self._workers)

    def _limit(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket
        assert connection is not None  # noqa: S101 -- it has just been opened
        most = self._predictor.limits.max_bytes + _ENVELOPE_BYTES
        connection.recv = ReceiveLimit(connection, most)  # type: ignore[method-assign]

    def _echo(self, event: evt.Event) -> int:
        _forgive(event)
        return SUCCESS

    def _store(self, event: evt.Event) -> int | Dataset:
        try:
            data = event.encoded_dataset()
            # Before it is decoded: a flood costs no work that comes to nothing.
            self._spool.require_room(data, 0 if self.stopping.is_set() else _PATIENCE_S)
            self._check(data)
            identity = self._spool.add(data)
        except InvalidInput as error:
            _logger.warning("An object was refused: %s (%s)", error.message, error.code)
            return _status(CANNOT_UNDERSTAND, error.message)
        except (Overloaded, StorageUnavailable) as error:
            _logger.warning("An object was put off: %s (%s)", error.message, error.code)
            return _status(OUT_OF_RESOURCES, error.message)
        except MemoryError:
            return _status(OUT_OF_RESOURCES, "The server has no memory for it. Send it again later.")
        finally:
            _forgive(event)
        _logger.info("Accepted object %s", identity)
        return SUCCESS

    def _check(self, data: bytes) -> None:
        """Decodes an object, so that its sender learns what is wrong with it.

        One at a time: all senders together take one core from the scoring, and the memory of one picture.
        """
        with self._checking:
            read_source(data, self._predictor.limits)
            self._predictor.read(data)


class ReceiveLimit:
    """Reads from a connection until it has sent more than one message may have, without waiting for its answer.

    pynetdicom itself reads a PDU of any length, and messages without end.

    Args:
        connection: Of a peer.
        most: Bytes that may be read before `forgive`.
    """

    def __init__(self, connection: AssociationSocket, most: int) -> None:
        self._connection = connection
        self._receive = connection.recv
        self._most = most
        self._read = 0

    def __call__(self, nr_bytes: int) -> bytearray:
        """Reads bytes.

        Raises:
            ConnectionError: More than the most; pynetdicom then closes the connection.
        """
        self._read += nr_bytes
        if self._read > self._most:
            _logger.warning("A connection was closed: it sent more than %d bytes for one object", self._most)
            # The peer sees the end; pynetdicom takes the error for an end by the peer.
            cut(self._connection)
            raise ConnectionError
        return self._receive(nr_bytes)

    def forgive(self) -> None:
        """Counts from 0 again: a message was answered."""
        self._read = 0


class _Server(ThreadedAssociationServer):
    """Closes connections beyond those that associations may have, before they get a thread."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Tells whether there is room for one more."""
        return len(self.active_associations) < self.ae.maximum_associations + _SPARE_CONNECTIONS


def _entity(node: Node) -> AE:
    entity = AE(ae_title=node.aet)
    entity.require_calling_aet = list(node.allowed)
    entity.require_called_aet = True
    entity.maximum_associations = node.max_associations
    entity.acse_timeout, entity.dimse_timeout, entity.network_timeout = _NEGOTIATION_S, _SILENCE_S, _SILENCE_S
    entity.add_supported_context(_VERIFICATION)
    for storage in _STORAGES:
        entity.add_supported_context(storage, _SYNTAXES)
    return entity


def _end(server: ThreadedAssociationServer) -> None:
    """Stops to listen and ends all associations."""
    # The server's own `shutdown` also takes it out of a list that `make_server` does not put it into.
    BaseServer.shutdown(server)
    server.server_close()
    for association in server.active_associations:
        association.abort(block=False)
    end = time.monotonic() + _FAREWELL_S
    while server.active_associations and time.monotonic() < end:
        time.sleep(0.02)
    # A thread that waits for the rest of a message would keep the process.
    for association in server.active_associations:
        cut(association.dul.socket)


def _forgive(event: evt.Event) -> None:
    limit = getattr(event.assoc.dul.socket, "recv", None)
    if isinstance(limit, ReceiveLimit):
        limit.forgive()


def _status(code: int, comment: str) -> Dataset:
    status = Dataset()
    status.Status, status.ErrorComment = code, comment[:_COMMENT]
    return status


def _log_rejection(event: evt.Event) -> None:
    requestor = event.assoc.requestor
    _logger.warning("Rejected a call of %s from %s", printable(str(requestor.ae_title)), requestor.address)
