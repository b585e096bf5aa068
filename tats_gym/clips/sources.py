"""Lists the videos of a dataset as they lie on this disk."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tats_gym.clips.demo import make_demo_data
from tats_gym.clips.layouts import SPLITS, Listing, Part, Split, Tree, Video, VideoList
from tats_gym.clips.official import read_hmdb51, read_k400, read_ssv2, read_ucf101
from tats_gym.clips.plain import read_folder, read_list
from tats_gym.clips.roots import data_root, missing_data
from tats_gym.clips.subsets import check_subset, choose_subset

__all__ = ["LAYOUTS", "Layout", "Video", "VideoList", "check_source", "dataset_folder", "list_videos"]

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """How a dataset is read, and what parts it has."""

    read: Callable[[Tree, Part], Listing]
    splits: tuple[Split, ...] = SPLITS
    folds: int = 1
    """Official divisions into train and validation."""


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "ssv2": Layout(read_ssv2),
        "k400": Layout(read_k400),
        "ucf101": Layout(read_ucf101, SPLITS[:2], folds=3),
        "hmdb51": Layout(read_hmdb51, SPLITS[:2], folds=3),
        "list": Layout(read_list),
        "folder": Layout(read_folder, SPLITS[:2]),
        "demo": Layout(read_ssv2, SPLITS[:2]),
    }
)
"""Name of a dataset to its layout."""


def list_videos(
    data: str,
    root: str | Path | None = None,
    split: Split = "train",
    *,
    fold: int = 1,
    subset: float | None = None,
    subset_seed: int = 0,
) -> VideoList:
    """List a dataset's videos. The demo data are made first where they are missing.

    Args:
        data: A name in `LAYOUTS`.
        root: The dataset's folder, see `data_root`; for the demo, see `demo_root`. Files may lie anywhere below it.
        split: Which part.
        fold: Which of the three official divisions of UCF101 and HMDB51; the others have one.
        subset: A share of every class, in (0, 1), or a number of clips of every class, see `choose_subset`. None
            takes all.
        subset_seed: Another one gives another choice.

    Raises:
        MissingDataError: The folder, the annotations or all videos are missing.
        ValueError: A name is unknown, an annotation file is not what its owner distributes.
    """
    check_source(data, split, fold=fold, subset=subset, subset_seed=subset_seed)
    part = Part(split, fold)
    folder = dataset_folder(data, root)
    listing = LAYOUTS[data].read(Tree(data, folder), part)
    videos = [Video(path, label, name) for name, path, label in listing.entries if path is not None]
    absent = [name for name, path, _ in listing.entries if path is None]
    first = ", ".join(absent[:3])
    if not videos:
        raise missing_data(data, folder, f"none of the {len(absent)} videos of {split} is there ({first}, ...)")
    if absent:
        total = len(listing.entries)
        logger.warning("%s %s: %d of %d videos are missing: %s, ...", data, split, len(absent), total, first)
    return VideoList(tuple(choose_subset(videos, subset, subset_seed)), listing.classes, len(absent))


def dataset_folder(data: str, root: str | Path | None = None) -> Path:
    """Where a dataset lies; the demo data are made there where they are missing."""
    if data == "demo":
        return make_demo_data(None if root is None else data_root(data, root))
    return data_root(data, root)


def check_source(data: str, split: str, *, fold: int = 1, subset: float | None = None, subset_seed: int = 0) -> None:
    """Raise ValueError where `data` is not a known name, it has no such part, or the subset is none."""
    if data not in LAYOUTS:
        raise ValueError(f"data must be one of {tuple(LAYOUTS)}, got {data!r}")
    layout = LAYOUTS[data]
    if split not in layout.splits:
        raise ValueError(f"split must be one of {layout.splits} for {data}, got {split!r}")
    if fold not in range(1, layout.folds + 1):
        raise ValueError(f"fold must lie in [1, {layout.folds}] for {data}, got {fold}")
    check_subset(subset, subset_seed)
