"""Journals: bounded, private, whole lines from several processes."""

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from brainmri.errors import StorageFull
from brainmri.observe.journal import Journal, journal_files, read_journal


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in journal_files(folder))


def test_entries_come_back_in_order_and_belong_to_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal = Journal(folder, 100_000, "refuse")
    for number in range(3):
        journal.append({"number": number})
    assert [entry["number"] for entry in read_journal(folder)] == [0, 1, 2]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in journal_files(folder)] == [0o600]


def test_a_full_journal_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 100, "refuse", files=2)
    line = len('{"number":0}\n')
    for number in range(100 // line):
        journal.append({"number": number})
    with pytest.raises(StorageFull, match="as many bytes") as refused:
        journal.append({"number": 9})
    assert refused.value.limit == "100 bytes"
    assert [entry["number"] for entry in read_journal(tmp_path)] == list(range(100 // line))
    assert len(journal_files(tmp_path)) > 1


def test_a_log_drops_its_oldest_file_and_never_exceeds_its_bytes(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 200, "drop_oldest", files=4)
    for number in range(100):
        journal.append({"number": number})
        assert held(tmp_path) <= 200
    numbers = [entry["number"] for entry in read_journal(tmp_path)]
    assert numbers == list(range(numbers[0], 100))
    assert len(numbers) >= 8


def test_a_line_larger_than_the_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFull):
        Journal(tmp_path, 50, "drop_oldest").append({"text": "x" * 50})


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "00000001.jsonl").write_bytes(b'{"a": 1}\n{"b"\n[1]\n\xff\n{"c": 2}\n')
    assert list(read_journal(tmp_path)) == [{"a": 1}, {"c": 2}]


def append_many(folder: Path, name: str) -> None:
    journal = Journal(folder, 10_000_000, "refuse")
    for number in range(50):
        journal.append({"name": name, "number": number, "fill": "x" * 200})


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=append_many, args=(tmp_path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = [line for path in journal_files(tmp_path) for line in path.read_text().splitlines()]
    entries = [json.loads(line) for line in lines]
    for name in "ab":
        assert [entry["number"] for entry in entries if entry["name"] == name] == list(range(50))
