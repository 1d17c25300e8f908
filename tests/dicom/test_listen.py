import logging
import socket
import struct
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE

from brainmri.dicom import listen
from brainmri.dicom.destination import Outcome, cut
from brainmri.dicom.listen import Listener, Node
from brainmri.dicom.spool import Spool
from brainmri.errors import InvalidSettings
from brainmri.imaging import DecodeLimits
from brainmri.model.options import ModelOptions
from brainmri.model.predictor import Predictor
from tests.dicom.nodes import SOON_S, listening, stored, until
from tests.dicom.samples import INSTANCE, MARKS, STUDY, slice_of_study
from tests.tiny import write_tiny_bundle

MAX_BYTES = 100_000
VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("explaining")
    bundle = write_tiny_bundle(folder / "bundle", folder, explains=True)
    return Predictor.open(bundle, ModelOptions(limits=DecodeLimits(max_bytes=MAX_BYTES)))


class Blocked:
    """A destination that takes nothing until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.delivered: list[str] = []

    def deliver(self, files: Sequence[Path]) -> Generator[Outcome, None, None]:
        for file in files:
            if not self.open.is_set():
                yield Outcome.LATER
                return
            self.delivered.append(str(pydicom.dcmread(file).SOPInstanceUID))
            yield Outcome.DELIVERED


def send(
    port: int, folder: Path, *files: bytes, calling: str = "STORESCU", called: str = "BRAINMRI"
) -> list[int | None]:
    """Sends objects over one association; returns their statuses, None where the association ended."""
    entity = AE(ae_title=calling)
    entity.dimse_timeout = entity.network_timeout = entity.acse_timeout = SOON_S
    entity.add_requested_context(MRImageStorage, "1.2.840.10008.1.2.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        cut(association.dul.socket)
        return [None] * len(files)
    statuses: list[int | None] = []
    for number, content in enumerate(files):
        path = folder / f"sent-{number}.dcm"
        path.write_bytes(content)
        statuses.append(association.send_c_store(path).get("Status") if association.is_established else None)
    association.release()
    cut(association.dul.socket)
    return statuses


def test_a_slice_is_answered_with_a_report_and_a_capture_in_its_study(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port:
        assert send(port, tmp_path, slice_of_study()) == [0x0000]
        until(lambda: len(stored(tmp_path)) == 2, "The results")
    results = [pydicom.dcmread(file) for file in stored(tmp_path)]
    assert sorted(one.Modality for one in results) == ["OT", "SR"]
    assert {one.StudyInstanceUID for one in results} == {STUDY}


def test_the_same_slice_twice_is_accepted_twice_and_answered_once(explaining: Predictor, tmp_path: Path) -> None:
    destination = Blocked()
    destination.open.set()
    with listening(explaining, tmp_path, destination) as port:
        assert send(port, tmp_path, slice_of_study(), slice_of_study()) == [0x0000] * 2
        until(lambda: len(destination.delivered) == 2, "The results")
        assert send(port, tmp_path, slice_of_study(), slice_of_study(2)) == [0x0000] * 2
        until(lambda: len(destination.delivered) == 4, "The results of the second slice")
    assert len(set(destination.delivered)) == 4


def test_an_unknown_caller_and_a_call_for_another_title_are_rejected(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port:
        assert send(port, tmp_path, slice_of_study(), calling="STRANGER") == [None]
        assert send(port, tmp_path, slice_of_study(), called="OTHER") == [None]
    assert stored(tmp_path) == []


def test_echo_is_answered(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port:
        entity = AE(ae_title="ECHOSCU")
        entity.add_requested_context(VERIFICATION)
        association = entity.associate("127.0.0.1", port, ae_title="BRAINMRI")
        assert association.send_c_echo().Status == 0x0000
        association.release()


def test_secondary_captures_are_not_taken(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port:
        entity = AE(ae_title="STORESCU")
        entity.add_requested_context(SecondaryCaptureImageStorage)
        association = entity.associate("127.0.0.1", port, ae_title="BRAINMRI")
        assert association.accepted_contexts == []
        association.abort()


def test_an_object_of_another_part_of_the_body_is_refused_and_the_next_one_answered(
    explaining: Predictor, tmp_path: Path
) -> None:
    knee = slice_of_study(2, BodyPartExamined="KNEE")
    damaged = slice_of_study(3, StudyInstanceUID=None)
    with listening(explaining, tmp_path) as port:
        assert send(port, tmp_path, knee, damaged, slice_of_study()) == [0xC000, 0xC000, 0x0000]
        until(lambda: len(stored(tmp_path)) == 2, "The results")


def test_a_full_spool_puts_senders_off_and_recovers(explaining: Predictor, tmp_path: Path) -> None:
    destination = Blocked()
    with listening(explaining, tmp_path, destination, most=2) as port:
        slices = [slice_of_study(number) for number in range(1, 4)]
        assert send(port, tmp_path, *slices) == [0x0000, 0x0000, 0xA700]
        destination.open.set()
        until(lambda: len(destination.delivered) == 4, "The results")
        assert send(port, tmp_path, slices[2]) == [0x0000]
        until(lambda: len(destination.delivered) == 6, "The results of the third slice")


def test_a_flood_by_one_sender_costs_a_decoding_for_each_object_that_has_room(
    explaining: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = threading.Lock()
    alone: list[bool] = []
    read = explaining.read

    def counted(data: bytes, *args: Any, **options: Any) -> Any:
        if threading.current_thread().name != "score":
            alone.append(decoding.acquire(blocking=False))
            try:
                return read(data, *args, **options)
            finally:
                decoding.release()
        return read(data, *args, **options)

    monkeypatch.setattr(explaining, "read", counted)
    monkeypatch.setattr(listen, "_PATIENCE_S", 0.1)
    destination = Blocked()
    statuses: list[int | None] = []

    def flood(sender: int) -> None:
        folder = tmp_path / f"sender-{sender}"
        folder.mkdir()
        statuses.extend(send(port, folder, *(slice_of_study(20 * sender + number) for number in range(1, 16))))

    with listening(explaining, tmp_path, destination, most=5) as port:
        senders = [threading.Thread(target=flood, args=(sender,)) for sender in range(3)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(SOON_S)
        assert Counter(statuses) == {0x0000: 5, 0xA700: 40}
        assert all(alone)
        # Each sender may find the last place free and taken a moment later.
        assert 5 <= len(alone) <= 5 + 2
        destination.open.set()
        until(lambda: len(destination.delivered) == 10, "The results")
        assert send(port, tmp_path, slice_of_study(99)) == [0x0000]


def test_a_sender_waits_for_room_before_it_is_put_off(
    explaining: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "_PATIENCE_S", SOON_S)
    destination = Blocked()
    with listening(explaining, tmp_path, destination, most=1) as port:
        assert send(port, tmp_path, slice_of_study()) == [0x0000]
        threading.Timer(0.5, destination.open.set).start()
        assert send(port, tmp_path, slice_of_study(2)) == [0x0000]


def test_what_waits_is_delivered_by_the_next_process(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path, Blocked()) as port:
        assert send(port, tmp_path, slice_of_study()) == [0x0000]
    assert stored(tmp_path) == []
    with listening(explaining, tmp_path):
        until(lambda: len(stored(tmp_path)) == 2, "The results")


def test_one_association_more_than_allowed_is_rejected(explaining: Predictor, tmp_path: Path) -> None:
    entity = AE(ae_title="ECHOSCU")
    entity.add_requested_context(VERIFICATION)
    with listening(explaining, tmp_path, max_associations=1) as port:
        first = entity.associate("127.0.0.1", port, ae_title="BRAINMRI")
        second = entity.associate("127.0.0.1", port, ae_title="BRAINMRI")
        assert (first.is_established, second.is_established, second.is_rejected) == (True, False, True)
        first.release()


def test_a_message_larger_than_an_image_may_be_ends_its_association(explaining: Predictor, tmp_path: Path) -> None:
    large = slice_of_study(2, pixels=np.zeros((1024, 1024), np.uint16))
    with listening(explaining, tmp_path) as port:
        assert send(port, tmp_path, large) == [None]
        assert send(port, tmp_path, slice_of_study()) == [0x0000]


def test_a_pdu_that_claims_gigabytes_is_not_waited_for(explaining: Predictor, tmp_path: Path) -> None:
    with listening(explaining, tmp_path) as port, socket.create_connection(("127.0.0.1", port), SOON_S) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1) + bytes(1000))
        connection.settimeout(SOON_S)
        assert connection.recv(1) == b""


def test_no_value_of_an_object_reaches_the_log(
    explaining: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "brainmri")
    with listening(explaining, tmp_path) as port:
        send(port, tmp_path, slice_of_study(), slice_of_study(2, BodyPartExamined="KNEE"), slice_of_study(3, Rows=0))
        until(lambda: len(stored(tmp_path)) == 2, "The results")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("brainmri")]
    assert any("Accepted object" in line for line in lines)
    assert any("KNEE" in line and "not_brain_mr" in line for line in lines)
    assert [value for value in (*MARKS, STUDY, INSTANCE) if any(value in line for line in lines)] == []


def test_a_node_that_nobody_may_call_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="Name the AE titles that may with --allow"):
        Node("BRAINMRI", "127.0.0.1", 0, (), 1)


def test_a_port_that_is_taken_is_told(explaining: Predictor, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = Node("BRAINMRI", "127.0.0.1", taken.getsockname()[1], ("A",), 1)
        spool = Spool(tmp_path, 1)
        listener = Listener(node, explaining, spool, Blocked())
        with pytest.raises(InvalidSettings, match=r"Address already in use\. Choose another --port"):
            listener.start()
        spool.close()
