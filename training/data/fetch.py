"""Brings the dataset to a local folder."""

from pathlib import Path

from brainmri.errors import DatasetError
from training.data.dataset import FOLDER, KAGGLE_HANDLE, find_dataset, list_slices


def fetch_dataset(out: Path, local: Path | None = None) -> Path:
    """Makes the dataset available below `out` and returns its folder.

    A download or a local folder is linked rather than copied: `out/brain-mri` points to it.

    Args:
        out: Folder to hold `brain-mri`.
        local: A folder with the dataset; nothing is downloaded then.

    Raises:
        DatasetError: The download failed, the folder does not hold the dataset, or `out/brain-mri` is another one.
    """
    source = find_dataset((local if local is not None else _download()).resolve())
    list_slices(source)
    target = out / FOLDER
    if target.is_dir() and target.resolve() == source:
        return target
    if target.exists() or target.is_symlink():
        raise DatasetError(f"{target} already exists. Remove it, or choose another --out.")
    out.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source, target_is_directory=True)
    return target


def _download() -> Path:
    import kagglehub

    try:
        return Path(kagglehub.dataset_download(KAGGLE_HANDLE))
    # kagglehub lets through whatever its HTTP client, the archive or the disk raises.
    except Exception as error:
        raise DatasetError(
            f"The download of {KAGGLE_HANDLE} from Kaggle failed ({type(error).__name__}: {error}). Check the network,"
            " or download the dataset by hand and pass its folder with --local."
        ) from error
