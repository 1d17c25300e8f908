import gzip
import io
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable

import pytest

from brainmri.blocking import Stop, Stopped
from brainmri.bulk.archives import reading
from brainmri.bulk.archives.archive import ArchiveLimits, open_archive
from brainmri.errors import ArchiveRefused, ImageUnreadable
from tests.bulk.hostile_archives import (
    END,
    MIB,
    empty_gzip_members,
    endless_gzip_header,
    extended,
    extended_headers,
    global_headers,
    member,
    padded,
    record,
    sparse_map,
    tar_block,
    zip_with_far_offset,
    zip_with_offset,
)

SPARSE = "The archive holds a file with holes, 'a.png'. Pack files and folders only (tar without --sparse)."
RECORDS = "The tar file has a header of more than 256 records. Pack it again, without extended attributes."
LONG = "The tar file has more than 1048576 bytes of headers for one file. Pack it again, without extended attributes."
DAMAGED = "The tar file is damaged or cut off. Pack or send it again."


def chained(headers: int) -> bytes:
    return gzip.compress(extended(record("comment", b"x")) * headers + member(b"x") + END)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a sparse map of 4 million entries": (lambda: sparse_map(4_000_000), SPARSE),
    "an old sparse member": (lambda: gzip.compress(tar_block(tarfile.GNUTYPE_SPARSE, 0) + END), SPARSE),
    "a sparse map in the header": (lambda: extended_headers(record("GNU.sparse.map", b"0,1," * 100)), SPARSE),
    "a sparse map of the first kind": (
        lambda: extended_headers(record("GNU.sparse.name", b"a.png") + record("GNU.sparse.size", b"9")),
        SPARSE,
    ),
    "a global header of many keys": (lambda: global_headers(2000, 20_000), RECORDS),
    "a header of many keys": (
        lambda: extended_headers(b"".join(record(f"k{n}", b"") for n in range(50_000))),
        RECORDS,
    ),
    "records that overlap": (lambda: extended_headers(b"2 " * 15_000), DAMAGED),
    "a record without an end": (lambda: extended_headers(b"20 path=a\n"), DAMAGED),
    "a record of no length": (lambda: extended_headers(b"0 path=a\n"), DAMAGED),
    "a size that is none": (lambda: extended_headers(record("size", b"-1")), DAMAGED),
    "a name for all files": (
        lambda: gzip.compress(extended(record("path", b"b.png"), tarfile.XGLTYPE) + member(b"") + END),
        "The tar file has a global header that sets 'path' for all of its files. Pack it again.",
    ),
    "a header without a file": (lambda: gzip.compress(extended(record("comment", b"x")) + END), DAMAGED),
    "headers in a long chain": (lambda: chained(5000), DAMAGED),
    "a header of 2 MiB": (lambda: extended_headers(record("comment", b"x" * 2 * MIB)), LONG),
}


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_small_tar_that_asks_for_much_is_refused_in_little_time_and_memory(
    make: Callable[[], bytes], message: str
) -> None:
    data = make()
    assert len(data) < 300_000
    tracemalloc.start()
    begun = time.thread_time()
    try:
        with pytest.raises(ArchiveRefused) as caught, open_archive(io.BytesIO(data)):
            pass
        assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    finally:
        tracemalloc.stop()
    assert caught.value.message.replace("PaxHeaders/", "") == message
    assert time.thread_time() - begun < 2


def test_a_value_of_digits_alone_is_not_searched_again_for_each_of_them() -> None:
    data = extended_headers(record("comment", b"1" * 500_000))
    begun = time.thread_time()
    with open_archive(io.BytesIO(data)) as archive:
        assert [member.name for member in archive.members] == ["a.png"]
    assert time.thread_time() - begun < 1


def test_extended_headers_still_give_name_and_size() -> None:
    file = io.BytesIO()
    names = ["ä" * 200 + ".png", "b.png"]
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "f0e1"}) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(name), 1.5
            info.pax_headers = {"size": str(len(name)), "SCHILY.xattr.user.a": "b"}
            archive.addfile(info, io.BytesIO(b"x" * len(name)))
    with open_archive(io.BytesIO(file.getvalue())) as opened:
        assert [(one.name, one.size, opened.read(one)) for one in opened.members] == [
            (name, len(name), b"x" * len(name)) for name in names
        ]


def test_a_size_in_an_extended_header_is_the_one_that_counts() -> None:
    first = extended(record("size", b"700")) + tar_block(tarfile.REGTYPE, 5) + padded(b"x" * 700)
    with open_archive(io.BytesIO(first + member(b"2", "b") + END)) as archive:
        assert [(one.name, one.size) for one in archive.members] == [("a.png", 700), ("b", 1)]
        assert archive.read(archive.members[0]) == b"x" * 700


@pytest.mark.parametrize("data", [empty_gzip_members(400_000), endless_gzip_header(20 * MIB)], ids=["parts", "name"])
def test_a_gzip_file_out_of_which_nothing_comes_is_given_up(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_CPU_S", 0.2)
    begun = time.thread_time()
    with pytest.raises(ArchiveRefused) as caught, open_archive(io.BytesIO(data)):
        pass
    assert caught.value.limit == "0.2 s"
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize("offset", [2**31, 2**32 - 2])
def test_a_member_that_begins_behind_the_end_of_a_zip_is_unreadable_and_the_others_are_read(offset: int) -> None:
    data = zip_with_offset({"a.png": b"first", "b.png": b"second"}, offset)
    with open_archive(io.BytesIO(data)) as archive:
        first, second = archive.members
        assert archive.read(first) == b"first"
        with pytest.raises(ImageUnreadable, match=r"'b\.png' is damaged: its data begins outside of the archive"):
            archive.read(second)


@pytest.mark.parametrize("offset", [2**40, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_member_that_begins_where_no_file_has_a_place_is_unreadable(offset: int) -> None:
    file = io.BytesIO(zip_with_far_offset(b"first", offset))
    with open_archive(file) as archive, pytest.raises(ImageUnreadable, match="begins outside of the archive"):
        archive.read(archive.members[0])


def test_a_compressed_tar_that_is_cut_off_after_it_was_listed_is_an_unreadable_member() -> None:
    file = io.BytesIO(gzip.compress(member(b"first") + member(bytes(MIB), "b.png"), 0))
    with open_archive(file) as archive:
        first, second = archive.members
        file.truncate(MIB // 2)
        assert archive.read(first) == b"first"
        with pytest.raises(ImageUnreadable, match=r"The archive is damaged at 'b\.png'. Pack it again."):
            archive.read(second)


def large_tar(size: int) -> bytes:
    return gzip.compress(member(bytes(size)) + END, 1)


def test_listing_ends_soon_after_nobody_waits_for_it() -> None:
    data, stop, ended = large_tar(150 * MIB), Stop(), []
    limits = ArchiveLimits(max_ratio=1e9)

    def list_it() -> None:
        with pytest.raises(Stopped), open_archive(io.BytesIO(data), limits, stop):
            pass
        ended.append(time.perf_counter())

    thread = threading.Thread(target=list_it)
    thread.start()
    time.sleep(0.02)
    begun = time.perf_counter()
    stop.set()
    thread.join(10)
    assert ended[0] - begun < 1


@pytest.mark.parametrize("data", [large_tar(MIB), member(b"x") + END, zip_with_offset({"a.png": b"x"}, 0)])
def test_neither_listing_nor_reading_begins_when_nobody_waits(data: bytes) -> None:
    stopped = Stop()
    stopped.set()
    with pytest.raises(Stopped), open_archive(io.BytesIO(data), stop=stopped):
        pass
    stop = Stop()
    with open_archive(io.BytesIO(data), stop=stop) as archive:
        stop.set()
        with pytest.raises(Stopped):
            archive.read(archive.members[0])
