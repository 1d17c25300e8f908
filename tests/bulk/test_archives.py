import gzip
import io
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from brainmri.bulk.archives.archive import ArchiveLimits, is_archive_name, open_archive
from brainmri.errors import ArchiveRefused, ArchiveTooLarge, ImageTooLarge, ImageUnreadable, status_of

FILES = {"glioma/a.png": b"first", "glioma/b.png": b"", "c.png": b"third" * 50_000}
MIB = 2**20
Pack = Callable[..., bytes]


def packed_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.mkdir("folder")
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def packed_tar(files: dict[str, bytes], mode: str = "w:", tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=tar_format) as archive:  # type: ignore[call-overload]
        folder = tarfile.TarInfo("./folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return bytes(file.getvalue())


PACKS: dict[str, Pack] = {
    "zip": packed_zip,
    "zip-stored": lambda files: packed_zip(files, zipfile.ZIP_STORED),
    "tar": packed_tar,
    "tar-gnu": lambda files: packed_tar(files, "w:", tarfile.GNU_FORMAT),
    "tar-ustar": lambda files: packed_tar(files, "w:", tarfile.USTAR_FORMAT),
    "tar.gz": lambda files: packed_tar(files, "w:gz"),
}
every_format = pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)


def opened(data: bytes, **limits: Any) -> dict[str, bytes]:
    """Returns every member's bytes."""
    with open_archive(io.BytesIO(data), ArchiveLimits(**limits)) as archive:
        return {member.name: archive.read(member) for member in archive.members}


def refusal(data: bytes, **limits: Any) -> ArchiveRefused:
    with pytest.raises(ArchiveRefused) as caught:
        opened(data, **limits)
    return caught.value


@every_format
def test_every_file_comes_out_as_it_went_in(pack: Pack) -> None:
    assert opened(pack(FILES)) == FILES


@every_format
def test_members_can_be_read_in_any_order_and_again(pack: Pack) -> None:
    with open_archive(io.BytesIO(pack(FILES))) as archive:
        order = [*archive.members, *reversed(archive.members), archive.members[1]]
        assert [archive.read(member) for member in order] == [FILES[member.name] for member in order]
        assert [member.size for member in archive.members] == [5, 0, 250_000]


@every_format
def test_what_an_operating_system_leaves_in_archives_is_no_member(pack: Pack) -> None:
    leftovers = dict.fromkeys(("__MACOSX/._a.png", "a/.DS_Store", "Thumbs.db", "b/desktop.ini"), b"x")
    assert opened(pack({**leftovers, "./b//a.png": b"image"})) == {"b/a.png": b"image"}


@every_format
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "\\\\server\\a.png", "C:\\a.png", "c:a.png", "../a.png", "a/../../b.png", "a\\..\\b.png"]
)
def test_paths_that_lead_out_are_refused(pack: Pack, name: str) -> None:
    error = refusal(pack({"good.png": b"x", name: b"x"}))
    assert ascii(name) in error.message
    assert error.message.endswith(("Pack it with relative paths.", "Pack it without '..'."))


@every_format
@pytest.mark.parametrize("name", ["inner.zip", "a/inner.TAR", "inner.tar.gz", "inner.tgz", "a.png.gz", "a.7z"])
def test_archives_in_archives_are_refused(pack: Pack, name: str) -> None:
    assert refusal(pack({name: b"x"})).message.startswith("The archive holds another archive, ")


@every_format
@pytest.mark.parametrize("name", ["a\nb.png", "\x1b[31m.png", "ü" * 600])
def test_names_that_no_result_should_show_are_refused(pack: Pack, name: str) -> None:
    if pack is PACKS["tar-ustar"] and len(name) > 100:
        pytest.skip("this format has no such names")
    assert refusal(pack({name: b"x"})).limit == "1024 bytes"


def test_two_files_of_one_name_are_refused() -> None:
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as archive:
        for name in ("a.png", "./a.png"):
            archive.addfile(tarfile.TarInfo(name))
    assert "two files named 'a.png'" in refusal(twice.getvalue()).message.replace("./", "")


def test_a_name_that_is_not_utf_8_is_shown_escaped() -> None:
    data = packed_tar({"a\udcff.png": b"x"}, tar_format=tarfile.GNU_FORMAT)
    assert opened(data) == {"a\\udcff.png": b"x"}


@every_format
def test_too_many_entries_are_refused_with_the_limit(pack: Pack) -> None:
    files = {f"{number}.png": b"x" for number in range(9)}
    assert len(opened(pack(files), max_members=10)) == 9
    error = refusal(pack({**files, "10.png": b"x"}), max_members=10)
    assert (error.limit, status_of(error).http) == ("10 entries", 413)


@every_format
def test_too_much_to_unpack_is_refused_before_it_is_unpacked(pack: Pack) -> None:
    error = refusal(pack(FILES), max_unpacked_bytes=200_000)
    assert (type(error), error.limit) == (ArchiveTooLarge, "200000 bytes unpacked")


@every_format
def test_a_member_that_is_too_large_is_an_error_of_its_own(pack: Pack) -> None:
    with open_archive(io.BytesIO(pack(FILES)), ArchiveLimits(max_member_bytes=1000)) as archive:
        first, _, third = archive.members
        assert archive.read(first) == b"first"
        with pytest.raises(ImageTooLarge, match="has 250000 bytes; an image may have at most 1000"):
            archive.read(third)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_bomb_is_refused_in_little_memory(kind: str) -> None:
    bomb = PACKS[kind]({"a.png": bytes(100 * MIB)})
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        assert refusal(bomb).limit == "100 times"
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


def test_entries_of_a_zip_that_share_their_bytes_are_refused() -> None:
    data = bytearray(packed_zip({"a.png": b"x" * 100, "b.png": b"y" * 100}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = struct.pack("<I", data.index(b"a.png") - 30)
    assert (
        refusal(bytes(data)).message == "The zip file's entries overlap, as those of archive bombs do. Pack it again."
    )


def test_a_zip_that_unpacks_to_more_than_it_declares_is_cut_there() -> None:
    data = bytearray(packed_zip({"a.png": bytes(50 * MIB)}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)
    tracemalloc.start()
    try:
        with open_archive(io.BytesIO(bytes(data))) as archive, pytest.raises(ImageUnreadable, match="CRC"):
            archive.read(archive.members[0])
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


def test_a_zip_that_declares_a_directory_beyond_all_limits_is_refused() -> None:
    data = bytearray(packed_zip(FILES))
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", 2**31)
    assert "directory" in refusal(bytes(data), max_members=10).message


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_an_encrypted_zip_is_refused(flag: int) -> None:
    data = bytearray(packed_zip({"a.png": b"x"}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 8 : entry + 10] = struct.pack("<H", flag)
    assert "is encrypted. Pack it without a password." in refusal(bytes(data)).message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_compressed_in_an_uncommon_way_is_refused(method: int) -> None:
    assert refusal(packed_zip({"a.png": b"x"}, method)).limit == "stored or deflate"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(kind: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "Pack files and folders only" in refusal(file.getvalue()).message


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (tarfile.SYMTYPE, "tar --dereference --hard-dereference"),
        # What GNU tar writes for the second name of a file, also with --dereference alone.
        (tarfile.LNKTYPE, "tar --hard-dereference"),
    ],
)
def test_a_refused_link_comes_with_the_option_that_packs_files(kind: bytes, remedy: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("links/1.jpg"))
        info = tarfile.TarInfo("links/2.jpg")
        info.type, info.linkname = kind, "links/1.jpg"
        archive.addfile(info)
    assert refusal(file.getvalue()).message.endswith(f"Pack files and folders only ({remedy}).")


@every_format
def test_names_with_backslashes_are_paths(pack: Pack) -> None:
    assert opened(pack({"T\\glioma\\a.jpg": b"a", "T\\notumor\\b.jpg": b"b"})) == {
        "T/glioma/a.jpg": b"a",
        "T/notumor/b.jpg": b"b",
    }


def test_a_folder_of_a_zip_packed_on_windows_is_no_file() -> None:
    assert opened(packed_zip({"T\\": b"", "T\\a.jpg": b"a"})) == {"T/a.jpg": b"a"}


@every_format
def test_the_beginning_of_a_file_is_read_alone_and_in_any_order(pack: Pack) -> None:
    with open_archive(io.BytesIO(pack({"a": b"first" * 1000, "b": b"second", "c": b""}))) as archive:
        heads = [archive.head(member, 10) for member in reversed(archive.members)]
    assert heads == [b"", b"second", b"firstfirst"]


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    message = refusal(file.getvalue()).message
    assert "Pack files and folders only" in message or "damaged" in message


def test_a_damaged_file_of_a_zip_leaves_the_others() -> None:
    data = bytearray(packed_zip({"a.png": b"first" * 100, "b.png": b"second" * 100}, zipfile.ZIP_STORED))
    data[data.index(b"first")] ^= 1
    with open_archive(io.BytesIO(bytes(data))) as archive:
        first, second = archive.members
        with pytest.raises(ImageUnreadable, match=r"'a\.png' is damaged: Bad CRC-32"):
            archive.read(first)
        assert archive.read(second) == b"second" * 100


@every_format
def test_an_archive_that_is_cut_off_is_refused(pack: Pack) -> None:
    chance = np.random.default_rng(7)
    data = pack({f"{number}.png": chance.bytes(3000) for number in range(5)})
    for length in range(1, len(data) - 10_240, 997):
        assert "Pack or send it again" in refusal(data[:length]).message or length < 512


@pytest.mark.parametrize("offset", [0, 124, 148, 300])
def test_a_damaged_header_in_a_tar_is_not_taken_for_its_end(offset: int) -> None:
    data = bytearray(packed_tar({"a.png": b"x", "b.png": b"y"}))
    header = data.index(b"b.png")
    data[header + offset] ^= 0x40
    assert refusal(bytes(data)).message == "The tar file is damaged or cut off. Pack or send it again."


def test_a_tar_of_negative_size_neither_loops_nor_passes() -> None:
    info = tarfile.TarInfo("a.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for size in (-1, -512, -1024, -(2**40)):
        header[124:136] = b"\xff" * 3 + size.to_bytes(9, "big", signed=True)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        assert "damaged" in refusal(bytes(header) + bytes(10_240)).message
        header[156:157] = tarfile.GNUTYPE_LONGNAME
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        refusal(bytes(header) + bytes(10_240))
        header[156:157] = tarfile.REGTYPE


def test_a_tar_with_a_header_of_gigabytes_is_refused_unread() -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**31
    file = io.BytesIO()
    with gzip.open(file, "wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(4 * MIB))
    assert refusal(file.getvalue()).limit == f"{MIB} bytes"


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"BZh9" + b"x" * 600, b"\xfd7zXZ\0", b"x" * 1000])
def test_what_is_no_archive_is_refused_with_what_is_one(data: bytes) -> None:
    assert refusal(data).limit == ".zip, .tar, .tar.gz, .tgz"


@every_format
def test_damage_anywhere_is_an_expected_error_or_another_content(pack: Pack) -> None:
    data, chance = pack(FILES), np.random.default_rng(7)
    for number in range(300):
        damaged = bytearray(data)
        for _ in range(1 + number % 3):
            place = int(chance.integers(min(len(damaged), 6000)))
            damaged[-place if number % 2 else place] = int(chance.integers(256))
        try:
            with open_archive(io.BytesIO(bytes(damaged))) as archive:
                for member in archive.members:
                    try:
                        assert len(archive.read(member)) <= member.size
                    except (ImageUnreadable, ImageTooLarge):
                        continue
        except ArchiveRefused:
            continue


def test_limits_that_nothing_could_meet_are_rejected() -> None:
    with pytest.raises(ValueError, match="Every limit must be at least 1"):
        ArchiveLimits(max_members=0)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.zip", True), ("A.TAR.GZ", True), ("a.tgz", True), ("a.png", False), ("zip", False)]
)
def test_archives_are_known_by_their_names(name: str, expected: bool) -> None:
    assert is_archive_name(name) is expected
