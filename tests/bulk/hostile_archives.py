"""Archives that ask for far more memory, time or disk than they have bytes."""

import gzip
import io
import struct
import tarfile
import zipfile

MIB = 2**20


def tar_block(kind: bytes, size: int, name: str = "a.png") -> bytes:
    """Returns one header of a tar file."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % tarfile.BLOCKSIZE)


def record(key: str, value: bytes) -> bytes:
    """Returns one record of an extended header: its length counts itself."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    return str(length if len(str(length)) == len(str(len(rest))) else length + 1).encode() + rest


def extended(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """Returns a whole extended header."""
    return tar_block(kind, len(records), "PaxHeaders/a.png") + padded(records)


def member(content: bytes, name: str = "a.png") -> bytes:
    """Returns one whole file of a tar."""
    return tar_block(tarfile.REGTYPE, len(content), name) + padded(content)


END = bytes(2 * tarfile.BLOCKSIZE)


def sparse_map(entries: int) -> bytes:
    """Returns a `.tar.gz` of a sparse member (pax 1.0) whose map has so many entries."""
    head = extended(record("GNU.sparse.major", b"1") + record("GNU.sparse.minor", b"0"))
    content = str(entries).encode() + b"\n" + b"0\n0\n" * entries
    return gzip.compress(head + member(content) + END)


def global_headers(keys: int, members: int) -> bytes:
    """Returns a `.tar.gz` of empty files behind a global header of so many keys."""
    records = b"".join(record(f"k{number}", b"") for number in range(keys))
    files = b"".join(member(b"", f"{number}.png") for number in range(members))
    return gzip.compress(extended(records, tarfile.XGLTYPE) + files + END)


def extended_headers(records: bytes) -> bytes:
    """Returns a `.tar.gz` of one file with these records."""
    return gzip.compress(extended(records) + member(b"x") + END)


def endless_gzip_header(size: int) -> bytes:
    """Returns a gzip file whose header has a name of so many bytes."""
    return b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * size


def empty_gzip_members(count: int) -> bytes:
    """Returns a gzip file of so many parts with nothing in them."""
    return gzip.compress(b"") * count


def zip_with_offset(files: dict[str, bytes], offset: int) -> bytes:
    """Returns a zip file, stored, whose last member's header is said to begin at `offset`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    data = bytearray(file.getvalue())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = struct.pack("<I", offset)
    return bytes(data)


def zip_with_far_offset(content: bytes, offset: int) -> bytes:
    """Returns a zip file of `a.png` whose 64-bit offset leads to `offset`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", content)
    data = bytearray(file.getvalue())
    entry, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    extra = struct.pack("<HHQ", 1, 8, offset)
    data[entry + 30 : entry + 32] = struct.pack("<H", len(extra))
    data[entry + 42 : entry + 46] = b"\xff" * 4
    data[end + 12 : end + 16] = struct.pack("<I", end - entry + len(extra))
    data[end:end] = extra
    return bytes(data)
