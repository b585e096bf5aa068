"""The types of all dataset readers: from annotations and a tree of files to a listing of videos."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tats_gym.clips.paths import missing_data
from tats_gym.clips.readers import split_span
from tats_gym.datasets import Split
from tats_gym.files.video_files import VIDEO_SUFFIXES
from tats_gym.messages import brief


class Part(NamedTuple):
    """A part of a dataset."""

    split: Split
    """Training, validation or test."""
    fold: int
    """Number of the official division into train and validation, from 1 on."""


FIRST_PART = Part("train", 1)
"""The part of a dataset that is taken where none is named."""


class Entry(NamedTuple):
    """A video that the annotations name."""

    name: str
    """The same on every machine."""
    path: Path | None
    """None where it is not on the disk."""
    label: int | None
    """Number of the class; None without labels."""


class Listing(NamedTuple):
    """Classes and videos of one part, as the annotations name them."""

    classes: tuple[str, ...]
    """Names of the classes, by their numbers."""
    entries: list[Entry]
    """The annotated videos, whether on the disk or not."""


@dataclass(frozen=True)
class Video:
    """A video file, or a segment of one, and its class."""

    path: Path
    """Its file or folder; of a segment with times at the end, see `TimeSpan`."""
    label: int | None
    """Index into the classes, None where the dataset has none."""
    name: str = field(default="", compare=False)
    """Its name in the annotations, the same on every machine."""


@dataclass(frozen=True)
class VideoList:
    """The videos of one split that are on the disk, in the order of the annotations."""

    videos: tuple[Video, ...]
    """The videos to use."""
    classes: tuple[str, ...]
    """Names of the classes, by their numbers."""
    missing: int
    """Annotated videos of the whole split that are not on the disk, with or without a subset."""
    annotated: int = 0
    """Videos in the annotations of the whole split."""
    broken: int = 0
    """Videos that are unusable according to an index; they are left out."""

    def __len__(self) -> int:
        return len(self.videos)

    def sources(self) -> list[int]:
        """Return a number for each video that segments of one file share, and the whole file with them."""
        split = [split_span(video.path) for video in self.videos]
        if all(span is None for _, span in split):
            return list(range(len(split)))
        first: dict[Path, int] = {}
        return [first.setdefault(file, number) for number, (file, _) in enumerate(split)]


class Tree:
    """All files below a folder, found by their names at any depth.

    Hidden files and folders are skipped, links are followed.
    """

    def __init__(self, data: str, root: Path) -> None:
        self.data, self.root = data, root
        if root.is_file():
            raise NotADirectoryError(f"{data}: root must be a folder, got the file {root}")
        if not root.is_dir():
            raise missing_data(data, root, "the folder does not exist")

    @cached_property
    def paths(self) -> list[str]:
        """Paths of all files, sorted.

        Raises:
            MissingDataError: If there is none.
        """
        paths = sorted(_walk(self.root))
        if not paths:
            raise missing_data(self.data, self.root, "the folder is empty")
        return paths

    def annotation(self, *names: str) -> Path:
        """Return the file with the first of `names` that occurs, the one nearest to the root.

        Raises:
            MissingDataError: If there is none.
        """
        for name in names:
            paths = [path for path in self.paths if os.path.basename(path) == name]
            if paths:
                return Path(min(paths, key=lambda path: (path.count(os.sep), path)))
        raise missing_data(self.data, self.root, f"there is no {' or '.join(names)}")

    def videos(self, key: Callable[[str], str]) -> dict[str, str]:
        """Return the paths of all videos by `key(path without suffix)`; of several with one key, the first in order."""
        videos_by_name: dict[str, str] = {}
        for path in self.paths:
            stem, suffix = os.path.splitext(path)
            if suffix.lower() in VIDEO_SUFFIXES:
                videos_by_name.setdefault(key(stem), path)
        return videos_by_name


def _walk(root: Path) -> Iterator[str]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up would never end
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in names if not name.startswith("."))


def contradiction(entries: Iterable[Entry]) -> str | None:
    """Describe the first video with two classes; None if there is none. The same class twice is allowed."""
    classes: dict[str, int | None] = {}
    for name, _, label in entries:
        first = classes.setdefault(name, label)
        if first != label:
            return f"{brief(name)} has the class {first}, and further on {label}"
    return None


def refuse_two_classes(path: Path, entries: Iterable[Entry]) -> None:
    """Raise ValueError if the annotations in `path` give a video two classes."""
    contradicting = contradiction(entries)
    if contradicting:
        raise ValueError(f"{path}: {contradicting}; leave one of the two")


def name_hash(name: str, salt: str = "") -> int:
    """Return a hash of 64 bits, the same on every machine; each salt gives another."""
    portable = os.fsencode(salt + name.replace(os.sep, "/"))
    return int.from_bytes(hashlib.blake2b(portable, digest_size=8).digest(), "big")
