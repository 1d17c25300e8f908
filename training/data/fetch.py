"""Brings the datasets to a local folder: downloaded from Kaggle, or taken from a folder."""

import csv
import io
from pathlib import Path

from brainmri.errors import DatasetError
from training.data.dataset import FOLDER, KAGGLE_HANDLE, find_dataset, is_image, list_slices
from training.data.sources import BR35H, FIGSHARE, NICKPARVAR, SOME_TUMOUR
from training.data.tables import write_atomically

BR35H_HANDLE = "ahmedhamada0/brain-tumor-detection"
BR35H_TABLE = "br35h.csv"
_BR35H_COLUMNS = ("name", "label", "group", "box_cx", "box_cy", "box_w", "box_h")
_BR35H_FOLDERS = {"notumor": "notumor", "no": "notumor", "tumour": SOME_TUMOUR, "yes": SOME_TUMOUR}
SOURCES = (NICKPARVAR, FIGSHARE, BR35H)


def fetch_source(source: str, out: Path, local: Path | None = None) -> Path:
    """Makes one source available below `out` and returns its folder or its table.

    Args:
        source: One of `SOURCES`.
        out: The data folder.
        local: Where the source lies already; nothing is downloaded then.

    Raises:
        DatasetError: The source is unknown, cannot be had, or something else lies where it is to go.
    """
    if source == NICKPARVAR:
        return fetch_dataset(out, local)
    if source == FIGSHARE:
        return fetch_figshare(out, local)
    if source == BR35H:
        return fetch_br35h(out, local)
    raise DatasetError(f"There is no source {source!r}. Known: {', '.join(SOURCES)}.")


def fetch_dataset(out: Path, local: Path | None = None) -> Path:
    """Makes Nickparvar's dataset available below `out` and returns its folder.

    A download or a local folder is linked rather than copied: `out/brain-mri` points to it.

    Args:
        out: Folder to hold `brain-mri`.
        local: A folder with the dataset; nothing is downloaded then.

    Raises:
        DatasetError: The download failed, the folder does not hold the dataset, or `out/brain-mri` is another one.
    """
    source = find_dataset((local if local is not None else _download(KAGGLE_HANDLE)).resolve())
    list_slices(source)
    return _link(source, out / FOLDER)


def fetch_figshare(out: Path, local: Path | None = None) -> Path:
    """Makes figshare's slices available below `out/sources` and returns their table.

    Args:
        out: The data folder.
        local: A folder with figshare's `.mat` files, which are converted, or with `figshare.csv` and `figshare/`,
            which are linked.

    Raises:
        DatasetError: No folder was given, or it holds neither.
    """
    # h5py is asked for only where figshare is.
    from training.data.fetch_figshare import ADDRESS, TABLE, convert_figshare

    if local is None:
        raise DatasetError(f"Download and unpack {ADDRESS} (CC BY 4.0), and pass its folder with --local.")
    if (local / TABLE).is_file():
        _link(local.resolve() / FIGSHARE, out / "sources" / FIGSHARE)
        return _link(local.resolve() / TABLE, out / "sources" / TABLE)
    _require_free(out / "sources" / TABLE)
    return convert_figshare(local, out / "sources")


def fetch_br35h(out: Path, local: Path | None = None) -> Path:
    """Makes Br35H's slices available below `out/sources` and returns their table.

    Args:
        out: The data folder.
        local: A folder with the folders `no` and `yes` as Kaggle has them, or with `br35h.csv` and `br35h/`. Without
            groups in a table, near-duplicates decide where a slice belongs.

    Raises:
        DatasetError: The download failed, or the folder holds neither.
    """
    folder = (local if local is not None else _download(BR35H_HANDLE)).resolve()
    table = out / "sources" / BR35H_TABLE
    if (folder / BR35H_TABLE).is_file():
        _link(folder / BR35H, out / "sources" / BR35H)
        return _link(folder / BR35H_TABLE, table)
    _require_free(table)
    folders = [child for child in folder.iterdir() if child.is_dir() and child.name.lower() in _BR35H_FOLDERS]
    parts = {_BR35H_FOLDERS[child.name.lower()]: child for child in folders}
    if set(parts) != {"notumor", SOME_TUMOUR}:
        raise DatasetError(f"{folder} has no folders no/ and yes/. Download {BR35H_HANDLE} from Kaggle and unpack it.")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_BR35H_COLUMNS)
    for label, part in sorted(parts.items()):
        _link(part, out / "sources" / BR35H / label)
        names = sorted(path.name for path in part.iterdir() if is_image(path))
        writer.writerows((f"{label}/{name}", label, "", "", "", "", "") for name in names)
    write_atomically(table, text.getvalue().encode())
    return table


def _require_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{target} already exists. Remove it, or choose another --out.")


def _link(source: Path, target: Path) -> Path:
    """Lets `target` point to `source`; what points there already stays."""
    if not source.exists():
        raise DatasetError(f"{source} does not exist, although a table beside it names images below it.")
    if target.exists() and target.resolve() == source:
        return target
    _require_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source, target_is_directory=source.is_dir())
    return target


def _download(handle: str) -> Path:
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(handle))
    # kagglehub lets through whatever its HTTP client, the archive or the disk raises.
    except Exception as error:
        raise DatasetError(
            f"The download of {handle} from Kaggle failed ({type(error).__name__}: {error}). Check the network,"
            " or download the dataset by hand and pass its folder with --local."
        ) from error
