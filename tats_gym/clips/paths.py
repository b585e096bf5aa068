"""The folders of datasets on this machine, and the error for a missing one."""

import os
from pathlib import Path

from tats_gym.datasets import DATASETS


class MissingDataError(FileNotFoundError):
    """A dataset, or a part of it, is not in its folder."""


def data_root(data: str, root: str | Path | None = None) -> Path:
    """Return the folder of a dataset: `root`, else `$TATS_GYM_DATA/<data>`, else `<data>` in the user's cache."""
    if root is not None:
        return Path(root).expanduser()
    home = os.environ.get("TATS_GYM_DATA")
    if home:
        return Path(home).expanduser() / data
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "tats_gym" / data


def missing_data(data: str, root: Path, problem: str) -> MissingDataError:
    """Return the error for a missing or incomplete dataset: files wanted, folder searched, distributor."""
    dataset = DATASETS[data]
    return MissingDataError(
        f"{data}: {problem}. Looked below {root.absolute()} for {dataset.files}. "
        f"They come from {dataset.distributor}. If they lie elsewhere, name that folder with root= (--root on a "
        f"command line), or set TATS_GYM_DATA to the folder that holds {data}/. "
        f"TatsMask-demo-v0 needs no data."
    )
