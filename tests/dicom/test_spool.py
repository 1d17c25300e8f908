import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brainmri.dicom.spool import Spool
from brainmri.errors import InvalidSettings, Overloaded, StorageFull

FILES = {"report": b"R", "capture": b"C"}


Opened = Callable[..., Spool]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens the spool in the test's folder as the next process would: the one before has ended."""
    spools: list[Spool] = []

    def open_next(most: int = 10) -> Spool:
        for spool in spools:
            spool.close()
        spools.append(Spool(tmp_path, most))
        return spools[-1]

    yield open_next
    for spool in spools:
        spool.close()


def test_an_object_goes_from_received_over_results_to_done(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identity = spool.add(b"object")
    assert (spool.received(), spool.data(identity), spool.pending()) == ([identity], b"object", 1)
    spool.scored(identity, FILES)
    (delivery,) = spool.deliveries()
    assert (spool.received(), delivery.identity) == ([], identity)
    assert [(file.name, file.read_bytes()) for file in delivery.files] == [("report.dcm", b"R"), ("capture.dcm", b"C")]
    for file in delivery.files:
        spool.delivered(file)
    assert (spool.deliveries(), spool.pending()) == ([], 0)


def test_the_oldest_object_comes_first_also_in_the_next_process(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identities = [spool.add(bytes([number])) for number in range(5)]
    for age, identity in enumerate(identities):
        os.utime(tmp_path / "received" / f"{identity}.dcm", (age, age))
    assert spool.received() == identities
    assert opened().received() == identities


def test_an_object_that_is_sent_again_is_answered_once(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identity = spool.add(b"object")
    assert (spool.add(b"object"), len(spool.received())) == (identity, 1)
    spool.scored(identity, {"report": b"R"})
    spool.add(b"object")
    assert (spool.received(), len(spool.deliveries())) == ([], 1)
    spool.delivered(spool.deliveries()[0].files[0])
    spool = opened()
    spool.add(b"object")
    assert spool.pending() == 0


def test_an_object_without_results_is_done(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    spool.scored(spool.add(b"object"), {})
    spool.add(b"object")
    assert spool.pending() == 0


def test_a_full_spool_refuses_whatever_waits_at_which_stage(opened: Opened, tmp_path: Path) -> None:
    spool = opened(3)
    scored, refused = spool.add(b"1"), spool.add(b"2")
    spool.scored(scored, FILES)
    spool.scored(refused, FILES)
    spool.refuse(refused)
    spool.add(b"3")
    with pytest.raises(Overloaded, match="3 objects wait") as caught:
        spool.add(b"4")
    assert caught.value.limit == "3 objects"
    for file in spool.deliveries()[0].files:
        spool.delivered(file)
    assert spool.add(b"4") in spool.received()


def test_results_that_a_kill_cut_short_are_made_again(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identity = spool.add(b"object")
    (tmp_path / ".scored").mkdir()
    (tmp_path / ".scored" / "report.dcm").write_bytes(b"half")
    (tmp_path / "received" / ".other.dcm.abcd.tmp").write_bytes(b"half")
    spool = opened()
    assert (spool.received(), spool.deliveries(), spool.pending()) == ([identity], [], 1)
    assert not (tmp_path / ".scored").exists()


def test_results_that_are_whole_when_a_kill_comes_are_not_made_again(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identity = spool.add(b"object")
    (tmp_path / "results" / identity).mkdir()
    (tmp_path / "results" / identity / "report.dcm").write_bytes(b"R")
    spool = opened()
    assert (spool.received(), [one.identity for one in spool.deliveries()]) == ([], [identity])


def test_a_kill_after_the_last_delivery_leaves_nothing_to_deliver(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    identity = spool.add(b"object")
    spool.scored(identity, {"report": b"R"})
    (tmp_path / "results" / identity / "report.dcm").unlink()
    spool = opened()
    assert (spool.deliveries(), spool.pending()) == ([], 0)
    spool.add(b"object")
    assert spool.received() == []


def test_what_was_delivered_before_a_kill_is_not_delivered_again(opened: Opened, tmp_path: Path) -> None:
    spool = opened()
    spool.scored(spool.add(b"object"), FILES)
    spool.delivered(spool.deliveries()[0].files[0])
    (delivery,) = opened().deliveries()
    assert [file.name for file in delivery.files] == ["capture.dcm"]


def test_two_listeners_cannot_share_a_spool(opened: Opened, tmp_path: Path) -> None:
    opened()
    with pytest.raises(InvalidSettings, match="Another listener uses"):
        Spool(tmp_path, 10)
    opened()


def test_a_full_disk_is_told_to_the_sender_and_leaves_nothing(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    spool = opened()
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(StorageFull):
        spool.add(b"object")
    monkeypatch.undo()
    assert (spool.pending(), list((tmp_path / "received").iterdir())) == (0, [])


def test_marks_of_what_is_done_are_bounded(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainmri.dicom.spool._MOST_DONE", 2)
    spool = opened()
    for number in range(4):
        identity = spool.add(bytes([number]))
        spool.scored(identity, {})
        os.utime(tmp_path / "done" / identity, (number, number))
    assert len(list((tmp_path / "done").iterdir())) == 2
