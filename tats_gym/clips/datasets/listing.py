"""Lists the videos of a dataset that are on this disk."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

from tats_gym.clips.datasets.index import find_index, read_index
from tats_gym.clips.datasets.layout import FIRST_PART, Listing, Part, Tree, Video, VideoList
from tats_gym.clips.datasets.subsets import check_subset, choose_subset
from tats_gym.clips.paths import data_root, missing_data
from tats_gym.datasets import DATASETS, Split
from tats_gym.messages import brief, check_choice, listed

__all__ = ["Video", "VideoList", "check_source", "dataset_folder", "list_videos"]

logger = logging.getLogger(__name__)


def list_videos(
    data: str,
    root: str | Path | None = None,
    split: Split = FIRST_PART.split,
    *,
    fold: int = FIRST_PART.fold,
    subset: float | None = None,
    subset_seed: int = 0,
    index: str | Path | None = None,
) -> VideoList:
    """List a dataset's videos; generated ones are made first if they are missing.

    Args:
        data: A name in `tats_gym.datasets.DATASETS`.
        root: The dataset's folder, see `data_root`; for generated data, see the generator. Files may lie anywhere
            below it.
        split: Part of the dataset.
        fold: One of the three official divisions of UCF101 and HMDB51; the others have one.
        subset: A share of every class, in (0, 1), or a number of clips of every class, see `choose_subset`. None
            takes all, or the subset of the index.
        subset_seed: Each seed gives another choice.
        index: An index made by tats-gym prepare, see `find_index`. With it the folder is not searched, and
            videos that it knows to be broken or misplaced are left out.

    Raises:
        MissingDataError: If the folder, the annotations or all videos are missing.
        ValueError: If a name is unknown, an annotation file is not in its owner's format, or the index is damaged or of
            another dataset, part or subset.
    """
    check_source(data, split, fold=fold, subset=subset, subset_seed=subset_seed)
    part = Part(split, fold)
    folder = dataset_folder(data, root)
    index_path = find_index(index, folder, data, part)
    if index_path is None:
        videos = _list_folder(data, folder, part, subset, subset_seed)
    else:
        videos = _list_index(index_path, data, folder, part, subset, subset_seed)
    if split == "train":
        _warn_of_empty_classes(data, videos)
    return videos


def _list_folder(data: str, folder: Path, part: Part, subset: float | None, subset_seed: int) -> VideoList:
    """Return the annotated videos that are on the disk."""
    read: Callable[[Tree, Part], Listing] = resolve_name(DATASETS[data].reader)
    split, listing = part.split, read(Tree(data, folder), part)
    videos = [Video(path, label, name) for name, path, label in listing.entries if path is not None]
    absent = [name for name, path, _ in listing.entries if path is None]
    first = ", ".join(map(brief, absent[:3]))
    if not listing.entries:
        raise missing_data(data, folder, f"the annotations of {split} name no video")
    if not videos:
        raise missing_data(data, folder, f"none of the {len(absent)} videos of {split} is there ({first}, ...)")
    if absent:
        total = len(listing.entries)
        _log_once(logging.WARNING, f"{data} {split}: {len(absent)} of {total} videos are missing: {first}, ...")
    chosen = tuple(choose_subset(videos, subset, subset_seed))
    return VideoList(chosen, listing.classes, missing=len(absent), annotated=len(listing.entries))


@cache
def _log_once(level: int, message: str) -> None:
    """Log a message once, however many streams of a process repeat it."""
    logger.log(level, "%s", message)


def _list_index(path: Path, data: str, folder: Path, part: Part, subset: float | None, subset_seed: int) -> VideoList:
    """Return the usable videos of an index."""
    if not folder.is_dir():
        raise missing_data(data, folder, "the folder does not exist")
    header, rows = read_index(path)
    if (header.data, header.part) != (data, part):
        raise ValueError(
            f"{path}, line 1: expected an index of {data} {part.split}, fold {part.fold}, "
            f"got {header.data} {header.split}, fold {header.fold}"
        )
    if header.subset is not None:
        made_of = f"the subset {header.subset:g} with seed {header.subset_seed}"
        if subset is None:
            _log_once(logging.INFO, f"{data} {part.split}: the index {path} holds {made_of}, which is taken")
        elif (subset, subset_seed) != (header.subset, header.subset_seed):
            raise ValueError(
                f"{path}, line 1: the index is of {made_of}, but the subset {subset:g} with seed {subset_seed} is "
                "asked for; verify that one, or take no index (none)"
            )
        subset = None
    named = {row.name: row for row in rows}
    videos = choose_subset([Video(folder / row.path, row.label, row.name) for row in rows], subset, subset_seed)
    usable = tuple(video for video in videos if named[video.name].finding.usable)
    if not usable:
        raise missing_data(data, folder, f"the index {path} says that none of its {len(videos)} videos can be used")
    broken = len(videos) - len(usable)
    unusable = f"{broken} that cannot be used"
    _log_once(logging.INFO, f"{data} {part.split}: {len(usable)} videos, and {unusable}, in {path}")
    stretched = sum(named[video.name].finding.pixel_aspect not in (None, 1) for video in usable)
    if stretched:
        _log_once(
            logging.INFO,
            f"{data} {part.split}: the pixels of {stretched} of these videos are not square; pixel_aspect says whether "
            "that is ignored, which it is by default, or applied",
        )
    return VideoList(usable, header.classes, header.missing, header.annotated, broken)


def _warn_of_empty_classes(data: str, videos: VideoList) -> None:
    """Warn of classes without a training video: a classifier has an output for each of them."""
    labels = {video.label for video in videos.videos}
    empty = [name for label, name in enumerate(videos.classes) if label not in labels]
    if empty and labels != {None}:
        way_out = "number the classes from 0 without gaps, or add videos" if data == "list" else "complete the videos"
        logger.warning(
            "%s train: %d of %d classes have no video: %s; a classifier has an output for each: %s",
            data, len(empty), len(videos.classes), listed(empty, most=8), way_out,
        )  # fmt: skip


def dataset_folder(data: str, root: str | Path | None = None) -> Path:
    """Return the folder of a dataset; generated data are made there if they are missing."""
    if (generator := DATASETS[data].generator) is None:
        return data_root(data, root)
    make: Callable[[Path | None], Path] = resolve_name(generator)
    return make(None if root is None else data_root(data, root))


def check_source(data: str, split: str, *, fold: int, subset: float | None, subset_seed: int) -> None:
    """Raise ValueError if the dataset, its part or its subset does not exist."""
    check_choice("data", data, tuple(DATASETS))
    dataset = DATASETS[data]
    check_choice(f"{data}'s split", split, dataset.splits)
    if fold not in range(1, dataset.folds + 1):
        raise ValueError(f"fold must lie in [1, {dataset.folds}] for {data}, got {fold}")
    check_subset(subset, subset_seed)
