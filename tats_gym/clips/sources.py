"""Lists the videos of a dataset as they lie on this disk."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from tats_gym.clips.demo import make_demo_data
from tats_gym.clips.layouts import (
    Listing,
    Split,
    Tree,
    read_folder,
    read_hmdb51,
    read_k400,
    read_ssv2,
    read_ucf101,
)
from tats_gym.clips.roots import data_root, missing_data

logger = logging.getLogger(__name__)

LAYOUTS: Mapping[str, Callable[[Tree, Split], Listing]] = MappingProxyType(
    {
        "ssv2": read_ssv2,
        "k400": read_k400,
        "ucf101": read_ucf101,
        "hmdb51": read_hmdb51,
        "folder": read_folder,
        "demo": read_ssv2,
    }
)
"""Name of a dataset to the function that reads its layout."""

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Video:
    """A video file and its class."""

    path: Path
    label: int | None
    """Index into the classes, None where the dataset has none."""


@dataclass(frozen=True)
class VideoList:
    """The videos of one split that are on the disk, in the order of the annotations."""

    videos: tuple[Video, ...]
    classes: tuple[str, ...]
    missing: int
    """Videos that the annotations name and the disk lacks."""

    def __len__(self) -> int:
        return len(self.videos)


def list_videos(data: str, root: str | Path | None = None, split: Split = "train") -> VideoList:
    """List a dataset's videos. The demo data are made first where they are missing.

    Args:
        data: A name in `LAYOUTS`.
        root: The dataset's folder, see `data_root`; for the demo, see `demo_root`. Files may lie anywhere below it.
        split: Which part.

    Raises:
        MissingDataError: The folder, the annotations or all videos are missing.
        ValueError: A name is unknown, or an annotation file is not what its owner distributes.
    """
    check_source(data, split)
    if data == "demo":
        folder = make_demo_data(None if root is None else data_root(data, root))
    else:
        folder = data_root(data, root)
    listing = LAYOUTS[data](Tree(data, folder), split)
    videos = tuple(Video(path, label) for _, path, label in listing.entries if path is not None)
    absent = [name for name, path, _ in listing.entries if path is None]
    first = ", ".join(absent[:3])
    if not videos:
        raise missing_data(data, folder, f"none of the {len(absent)} videos of {split} is there ({first}, ...)")
    if absent:
        total = len(listing.entries)
        logger.warning("%s %s: %d of %d videos are missing: %s, ...", data, split, len(absent), total, first)
    return VideoList(videos, listing.classes, len(absent))


def check_source(data: str, split: str) -> None:
    """Raise ValueError where `data` or `split` is not a known name."""
    if data not in LAYOUTS:
        raise ValueError(f"data must be one of {tuple(LAYOUTS)}, got {data!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
