import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brainmri.bulk.archives.archive import ArchiveLimits
from brainmri.bulk.chosen import REASONS
from brainmri.bulk.inputs import Inputs
from brainmri.bulk.items import Item, item_id
from brainmri.bulk.manifest import Division, Manifest, freeze
from brainmri.bulk.run import Share
from brainmri.bulk.sources import Retry, Sources
from brainmri.errors import ArchiveRefused, ScoringRefused

Listed = Callable[..., list[Item]]


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`scans/` in the working directory: images at two depths, and other files."""
    monkeypatch.chdir(tmp_path)
    for name in ("scans/b.png", "scans/a.JPG", "scans/deep/c.tif", "scans/notes.txt", "scans/._a.JPG"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "scans"


def listed(*inputs: str) -> list[Item]:
    return list(Inputs(inputs, ArchiveLimits()))


def paths(*inputs: str) -> list[str]:
    return [item.path for item in listed(*inputs)]


def contents(items: Sequence[Item]) -> list[bytes]:
    """Reads every item as a run does."""
    sources = Sources(ArchiveLimits(), Retry())
    found = [sources.prepare(item)().data for item in items]
    sources.close()
    return [data for data in found if isinstance(data, bytes)]


def test_a_folder_gives_its_images_at_every_depth_sorted(scans: Path) -> None:
    inputs = Inputs(["scans/"], ArchiveLimits())
    found = list(inputs)
    assert [item.path for item in found] == ["scans/a.JPG", "scans/b.png", "scans/deep/c.tif"]
    assert contents(found) == [b"scans/a.JPG", b"scans/b.png", b"scans/deep/c.tif"]
    assert inputs.left_out == {"other_kind": 1, "system_file": 1}


def test_a_file_whose_name_has_no_ending_is_chosen_by_its_first_bytes(tmp_path: Path) -> None:
    contents = {
        "1.2.840.113619.2.5.78": b"\0" * 128 + b"DICM",
        "IM0001": b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
        "jpeg": b"\xff\xd8\xff\xe0",
        "text": b"hello",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    for place in (tmp_path, tmp_path / "a.zip"):
        inputs = Inputs([str(place)], ArchiveLimits())
        assert sorted(Path(item.path).name for item in inputs) == ["1.2.840.113619.2.5.78", "IM0001", "jpeg"]
        assert (inputs.left_out["no_image"], inputs.left_out["archive"]) == (2, place is tmp_path)


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.mpo", "a.dcm", "a.IMA", "a.jp2", "a.avif"])
def test_further_endings_are_those_of_images(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert paths(str(tmp_path)) == [str(tmp_path / name)]


def test_what_is_no_image_is_counted_by_reason_and_a_pipe_is_never_opened(tmp_path: Path) -> None:
    for name in ("DICOMDIR", "notes.txt", "Thumbs.db", "b.zip", "v.nii.gz"):
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    inputs = Inputs([str(tmp_path)], ArchiveLimits())
    assert list(inputs) == []
    assert set(inputs.left_out) == set(REASONS) - {"no_image"}
    assert inputs.left_out.total() == 7
    with pytest.raises(ScoringRefused, match="Left out, 2: a pipe, socket or device"):
        freeze(tmp_path / "m.parquet", inputs, Division(10), inputs.left_out)


def test_a_path_that_holds_two_colons_is_one_path(scans: Path) -> None:
    (scans / "a::b").mkdir()
    (scans / "a::b" / "file::c.png").write_bytes(b"c")
    (scans / "a::b" / "list.csv").write_text("path\nfile::c.png\n")
    found = listed("scans/a::b", "scans/a::b/*.png", f"{scans}/a::b/file::c.png", "scans/a::b/list.csv")
    assert [item.path for item in found] == [
        "scans/a::b/file::c.png",
        "scans/a::b/file::c.png",
        f"{scans}/a::b/file::c.png",
        "file::c.png",
    ]
    assert contents(found) == [b"c"] * 4


def test_a_file_that_is_named_is_taken_whatever_its_name(scans: Path) -> None:
    assert paths("scans/notes.txt") == ["scans/notes.txt"]


def test_a_link_to_a_folder_is_not_followed(scans: Path) -> None:
    (scans / "loop").symlink_to(scans)
    (scans / "link.png").symlink_to(scans / "b.png")
    assert paths("scans") == ["scans/a.JPG", "scans/b.png", "scans/deep/c.tif", "scans/link.png"]


def test_a_pattern_gives_what_it_matches(scans: Path) -> None:
    assert paths("scans/*.png", "scans/**/c.*") == ["scans/b.png", "scans/deep/c.tif"]
    assert paths(f"{scans}/*.png") == [f"{scans}/b.png"]
    (scans / "[x].png").write_bytes(b"x")
    assert paths("scans/[x].png") == ["scans/[x].png"]


def test_archives_give_their_images(scans: Path) -> None:
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write("scans/b.png", "glioma/b.png")
        archive.write("scans/notes.txt", "notes.txt")
    with tarfile.open("b.tar.gz", "w:gz") as tar:
        tar.add("scans/a.JPG", "a.JPG")
        tar.add("scans/b.png", "b.png")
    found = listed("a.zip", "b.tar.gz")
    assert [item.path for item in found] == ["a.zip/glioma/b.png", "b.tar.gz/a.JPG", "b.tar.gz/b.png"]
    assert contents(found) == [b"scans/b.png", b"scans/a.JPG", b"scans/b.png"]


def test_an_archive_with_a_path_that_leads_out_is_refused(scans: Path) -> None:
    with zipfile.ZipFile("bad.zip", "w") as archive:
        archive.writestr("../b.png", b"")
    with pytest.raises(ArchiveRefused, match="leads out"):
        listed("bad.zip")


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_lists_images_relative_to_itself_and_may_name_them(scans: Path, suffix: str) -> None:
    rows = [
        {"path": "b.png", "id": "patient-1", "sex": "f"},
        {"path": str(scans / "a.JPG"), "id": "", "sex": "m"},
        {"path": f"file://{scans}/deep/c.tif", "id": "patient-3", "sex": "f"},
    ]
    write_table(scans / f"list{suffix}", rows)
    found = listed(f"scans/list{suffix}")
    assert [item.path for item in found] == ["b.png", str(scans / "a.JPG"), f"file://{scans}/deep/c.tif"]
    assert [item.id for item in found] == ["patient-1", item_id(str(scans / "a.JPG")), "patient-3"]
    assert contents(found) == [b"scans/b.png", b"scans/a.JPG", b"scans/deep/c.tif"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file\nb.png\n", "a.csv has no column named 'path'. It has the columns 'file', separated by commas"),
        ("a.csv", "File;Id\nb.png;1\n", "It has the columns 'File', 'Id', separated by semicolons"),
        ("a.csv", "sep=#\nfile#x\n", "It has the columns 'file', 'x', separated by '#'"),
        ("a.csv", "", "a.csv has no column named 'path'"),
        ("a.csv", "path\nb.png\n\n,\n", "Image 2 of a.csv has no path"),
        ("a.jsonl", '{"path": "b.png"}\n{"path":\n', "a.jsonl cannot be read after its image 1"),
        ("a.jsonl", '"b.png"\n', "a.jsonl cannot be read after its image"),
        ("a.parquet", "no parquet", "a.parquet cannot be read"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(scans: Path, name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(ScoringRefused, match=message):
        listed(name)


def test_a_parquet_file_without_a_path_is_told_with_its_columns(scans: Path) -> None:
    write_table(Path("a.parquet"), [{"file": "b.png", "sex": "f"}])
    with pytest.raises(ScoringRefused, match=r"named 'path'\. It has the columns 'file', 'sex'"):
        listed("a.parquet")


@pytest.mark.parametrize(
    "data",
    [
        b"path;id\nscans/b.png;1\nscans/deep/c.tif;2\n",
        b"ID\tPath\n1\tscans/b.png\n2\tscans/deep/c.tif\n",
        b"sep=|\r\nPATH|id\r\nscans/b.png|1\r\nscans/deep/c.tif|2\r\n",
        b"sep=\t\npath\tid\nscans/b.png\t1\nscans/deep/c.tif\t2\n",
        b'"id", "path"\n1,scans/b.png\n2,scans/deep/c.tif\n',
        "path,id\r\nscans/b.png,1\r\nscans/deep/c.tif,2\r\n".encode("utf-16"),
        "path;id\nscans/b.png;1\nscans/deep/c.tif;2\n".encode("utf-16-le"),
        "path,id\nscans/b.png,1\nscans/deep/c.tif,2\n".encode("utf-16-be"),
        b"path,id\nscans\\b.png,1\nscans\\deep\\c.tif,2\n",
    ],
)
def test_a_csv_file_is_read_with_any_separator_case_and_encoding_of_spreadsheets(scans: Path, data: bytes) -> None:
    Path("list.csv").write_bytes(data)
    found = listed("list.csv")
    assert [item.id for item in found] == ["1", "2"]
    assert contents(found) == [b"scans/b.png", b"scans/deep/c.tif"]


def test_a_csv_file_of_another_encoding_is_told_with_the_remedy(scans: Path) -> None:
    Path("list.csv").write_bytes("path\ngrün.png\n".encode("cp1252"))
    with pytest.raises(ScoringRefused, match=r"list\.csv is neither UTF-8 nor UTF-16 text\. Save it as UTF-8"):
        listed("list.csv")


def test_urls_are_read_like_folders_files_patterns_and_archives(scans: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b.png", "deep/a.png", "notes.txt"):
        memory.pipe(f"/bucket/{name}", name.encode())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("z.png", b"z")
    memory.pipe("/bucket/z.zip", packed.getvalue())
    found = listed("memory://bucket", "memory://bucket/*.png", "memory://bucket/z.zip", f"file://{scans}/b.png")
    assert [item.path for item in found] == [
        "memory://bucket/b.png",
        "memory://bucket/deep/a.png",
        "memory:///bucket/b.png",
        "memory://bucket/z.zip/z.png",
        f"file://{scans}/b.png",
    ]
    assert contents(found) == [b"b.png", b"deep/a.png", b"b.png", b"z", b"scans/b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("absent", "absent does not exist"),
        ("absent/*.png", r"Nothing matches absent/\*.png"),
        ("unheard://of/it", "unheard://of/it cannot be read"),
    ],
)
def test_an_input_that_is_not_there_is_told_before_anything_else(scans: Path, text: str, message: str) -> None:
    with pytest.raises(ScoringRefused, match=message):
        Inputs(["scans", text], ArchiveLimits()).require()


def test_a_name_that_is_not_utf8_is_read_and_shown(scans: Path) -> None:
    (scans / os.fsdecode(b"\xff.png")).write_bytes(b"odd")
    freeze(Path("m.parquet"), listed("scans"), Division(10))
    with Manifest(Path("m.parquet")) as manifest:
        found = manifest.items(0)
    assert found[-1].path == "scans/\\udcff.png"
    assert contents(found[-1:]) == [b"odd"]


def test_a_manifest_keeps_an_image_once_and_its_shards_are_fixed(scans: Path) -> None:
    frozen = freeze(Path("m.parquet"), listed("scans", "scans/b.png", "./scans/b.png"), Division(3))
    assert frozen.items == 4
    with Manifest(Path("m.parquet")) as manifest:
        assert [manifest.size(shard) for shard in range(manifest.shards)] == [3, 1]
        assert [item.path for item in manifest.items(1)] == ["./scans/b.png"]
    again = freeze(Path("n.parquet"), listed("scans", "./scans/b.png"), Division(2))
    assert (again.items, again.sha256) == (frozen.items, frozen.sha256)


@pytest.mark.parametrize(
    ("images", "sizes"), [(200, [25] * 8), (201, [25] * 8 + [1]), (9, [1] * 9), (3, [1] * 3), (2100, [256] * 8 + [52])]
)
def test_every_share_of_a_run_has_a_part_however_few_images_there_are(
    tmp_path: Path, images: int, sizes: list[int]
) -> None:
    items = [Item(str(number), f"{number}.png", f"/{number}.png") for number in range(images)]
    frozen = freeze(tmp_path / "m.parquet", items, Division(256, least_shards=8))
    with Manifest(tmp_path / "m.parquet") as manifest:
        assert [manifest.size(shard) for shard in range(manifest.shards)] == sizes
        assert [item.id for shard in range(manifest.shards) for item in manifest.items(shard)] == [
            item.id for item in items
        ]
        if images >= 8:
            assert all(Share(index, 8).shards(manifest.shards) for index in range(8))
    assert (frozen.items, frozen.shard_size) == (images, sizes[0])
    assert frozen.sha256 == freeze(tmp_path / "n.parquet", items, Division(256)).sha256


def test_one_id_for_two_images_is_refused(scans: Path) -> None:
    Path("list.csv").write_text("path,id\nscans/a.JPG,1\nscans/b.png,1\n")
    with pytest.raises(ScoringRefused, match="Two images have the id '1'"):
        freeze(Path("m.parquet"), listed("list.csv"), Division(10))


def test_no_image_at_all_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoringRefused, match="hold no image"):
        freeze(tmp_path / "m.parquet", listed(str(tmp_path / "empty")), Division(10))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
