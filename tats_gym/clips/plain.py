"""Videos without an owner's layout: any folder, and the `path label` lists that VideoMAE and its heirs read."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tats_gym.clips.layouts import (
    SUFFIXES,
    Entry,
    Listing,
    Part,
    Split,
    Tree,
    VideoList,
    contradiction,
    name_hash,
)
from tats_gym.clips.roots import missing_data
from tats_gym.files import write_whole
from tats_gym.hints import shown
from tats_gym.text_files import read_text

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 10
"""One video in this many is held out where a dataset names no split."""

LIST_FILES: Mapping[Split, str] = MappingProxyType({"train": "train.csv", "validation": "val.csv", "test": "test.csv"})
"""VideoMAE's names of the lists (https://github.com/MCG-NJU/VideoMAE/blob/main/DATASET.md)."""

LABELLED = re.compile(r"(.*\S)[ \t]+([0-9]{1,6})")
"""A path, which may hold spaces, and a class of at most six digits: a longer number is a mistake."""


def read_folder(tree: Tree, part: Part) -> Listing:
    """Any folder of videos, without labels.

    A hash of the path within the folder holds out about one video in ten, so that a video keeps its side when
    others come and go. Where that leaves a side empty, validation is the one video with the lowest hash and
    training is all of them, whether held out or not.
    """
    root = str(tree.root)
    names = {os.path.relpath(path, root): path for path in tree.videos(str).values()}
    if not names:
        raise missing_data(tree.data, tree.root, f"no file there is a video ({' '.join(SUFFIXES)})")
    hashes = {name: name_hash(name) for name in names}
    held_out = [name for name in names if hashes[name] % VALIDATION_SHARE == 0]
    rest = [name for name in names if hashes[name] % VALIDATION_SHARE]
    chosen: Sequence[str] = held_out or [min(names, key=hashes.__getitem__)]
    if part.split == "train":
        chosen = rest or list(names)
    return Listing((), [Entry(name, Path(names[name]), None) for name in chosen])


def read_list(tree: Tree, part: Part) -> Listing:
    """A list of videos in the root: paths, absolute or relative to it, and classes as numbers or none at all.

    The classes reach up to the highest number in any of the lists there, so that all splits have the same.
    """
    lists = {split: _read_lines(tree.root / file) for split, file in LIST_FILES.items() if (tree.root / file).is_file()}
    if part.split not in lists:
        raise missing_data(tree.data, tree.root, f"there is no {LIST_FILES[part.split]}")
    top = max((label for lines in lists.values() for _, label in lines if label is not None), default=-1)
    entries = []
    for name, label in lists[part.split]:
        path = tree.root / name
        entries.append(Entry(name, path if os.path.isfile(path) else None, label))  # which no odd name makes fail
    found = contradiction(entries)
    if found:  # a list of one's own may be of a dataset with several classes a video
        logger.warning("%s: %s; each line counts as a video", tree.root / LIST_FILES[part.split], found)
    return Listing(tuple(map(str, range(top + 1))), entries)


def _read_lines(path: Path) -> list[tuple[str, int | None]]:
    text = read_text(path, any_bytes=True)  # file names need not be UTF-8
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    lines = [(number, line.removesuffix("\r")) for number, line in lines]
    matches = [LABELLED.fullmatch(line.rstrip()) for _, line in lines]
    if any(matches):
        for (number, line), match in zip(lines, matches, strict=True):
            if not match:
                raise ValueError(f"{path}, line {number}: expected `path label`, a class number, got {shown(line)}")
        return [(match[1], int(match[2])) for match in matches if match]
    for number, line in lines:
        if not line.lower().endswith(SUFFIXES):
            raise ValueError(
                f"{path}, line {number}: expected `path label`, or the path of a video in every line, got {shown(line)}"
            )
    return [(line, None) for _, line in lines]


def write_list(videos: VideoList, path: str | Path) -> None:
    """Write videos as a list that the peers' code and `read_list` take, with absolute paths.

    Raises:
        ValueError: A path holds a line break.
    """
    lines = []
    for video in videos.videos:
        file = os.path.abspath(video.path)
        if "\n" in file or "\r" in file:
            raise ValueError(f"a list cannot hold a path with a line break, got {file!r}")
        lines.append(f"{file}\n" if video.label is None else f"{file} {video.label}\n")
    write_whole(Path(path), "".join(lines))
