"""How each dataset's owner lays out its files: annotations and a folder of videos in, named videos out."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tats_gym.clips.roots import missing_data

Split = Literal["train", "validation"]

SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"),
    *(".mpg", ".mpeg", ".3gp", ".wmv", ".flv", ".ts", ".ogv"),
)
"""Suffixes that make a file a video, in lower case."""

VALIDATION_SHARE = 10
"""One video in this many is held out where a dataset names no split."""


class Entry(NamedTuple):
    """A video that the annotations name."""

    name: str
    path: Path | None
    """None where the disk lacks it."""
    label: int | None


class Listing(NamedTuple):
    """What a dataset's annotations say of one split."""

    classes: tuple[str, ...]
    entries: list[Entry]


class Tree:
    """Every file below a folder, to be found by its name wherever it lies.

    Hidden files and folders are passed over, links are followed.
    """

    def __init__(self, data: str, root: Path) -> None:
        self.data, self.root = data, root
        if root.is_file():
            raise NotADirectoryError(f"{data}: root must be a folder, got the file {root}")
        if not root.is_dir():
            raise missing_data(data, root, "the folder does not exist")
        self.paths = sorted(_walk(root))
        if not self.paths:
            raise missing_data(data, root, "the folder is empty")

    def annotation(self, *names: str) -> Path:
        """The file with the first of `names` that occurs, the one nearest to the root.

        Raises:
            MissingDataError: There is none.
        """
        for name in names:
            found = [path for path in self.paths if os.path.basename(path) == name]
            if found:
                return Path(min(found, key=lambda path: (path.count(os.sep), path)))
        raise missing_data(self.data, self.root, f"there is no {' or '.join(names)}")

    def videos(self, key: Callable[[str], str]) -> dict[str, str]:
        """Paths of all videos by `key(path without suffix)`; of several with one key, the first in order."""
        found: dict[str, str] = {}
        for path in self.paths:
            stem, suffix = os.path.splitext(path)
            if suffix.lower() in SUFFIXES:
                found.setdefault(key(stem), path)
        return found


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


def _with_folder(path: str) -> str:
    """The last folder and the name."""
    return "/".join(Path(path).parts[-2:])


def _entry(name: str, found: str | None, label: int | None) -> Entry:
    return Entry(name, None if found is None else Path(found), label)


def read_ssv2(tree: Tree, split: Split) -> Listing:
    """Something-Something V2: the class is the template without its brackets, not the free-text `label`."""
    old = "something-something-v2-"
    labels_path = tree.annotation("labels.json", f"{old}labels.json")
    split_path = tree.annotation(f"{split}.json", f"{old}{split}.json")
    numbers = {template: int(number) for template, number in _read_json(labels_path, dict).items()}
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise ValueError(f"{labels_path}: expected the class numbers 0 to {len(numbers) - 1}, once each")
    videos = tree.videos(os.path.basename)
    entries = []
    for item in _read_json(split_path, list):
        if not {"id", "template"} <= item.keys():
            raise ValueError(f"{split_path}: expected 'id' and 'template' in each entry, got {item}")
        template = item["template"].replace("[", "").replace("]", "")
        if template not in numbers:
            raise ValueError(f"{split_path}: the template {template!r} is not in {labels_path}")
        name = str(item["id"])
        entries.append(_entry(name, videos.get(name), numbers[template]))
    return Listing(tuple(sorted(numbers, key=numbers.__getitem__)), entries)


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ValueError(f"{path}: it is not valid JSON ({err})") from err
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content


def read_k400(tree: Tree, split: Split) -> Listing:
    """Kinetics-400: classes are the sorted labels of the training split.

    A file is known by `{youtube_id}_{start:06d}_{end:06d}`, else by the 11 characters of the id.
    """
    train = _read_kinetics_csv(tree.annotation("train.csv", "kinetics_train.csv"))
    rows = train
    if split == "validation":
        names = ("val.csv", "validate.csv", "validation.csv", "kinetics_val.csv")
        rows = _read_kinetics_csv(tree.annotation(*names))
    classes = sorted({row["label"] for row in train})
    numbers = {name: number for number, name in enumerate(classes)}
    by_stem = tree.videos(os.path.basename)
    by_id = tree.videos(lambda stem: os.path.basename(stem)[:11])
    entries = []
    for row in rows:
        if row["label"] not in numbers:
            raise ValueError(f"k400: {row['label']!r} is a class of {split} but not of train")
        start, end = (int(float(row[field])) for field in ("time_start", "time_end"))
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        entries.append(_entry(name, by_stem.get(name) or by_id.get(row["youtube_id"]), numbers[row["label"]]))
    return Listing(tuple(classes), entries)


def _read_kinetics_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"label", "youtube_id", "time_start", "time_end"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: expected a header with {sorted(missing)}, got {reader.fieldnames}")
        return list(reader)


def read_ucf101(tree: Tree, split: Split) -> Listing:
    """UCF101, split 1: the class is the folder, its number is 1 less than in `classInd.txt`."""
    index_path = tree.annotation("classInd.txt")
    classes = tuple(line.split()[1] for line in _lines(index_path))
    list_path = tree.annotation("trainlist01.txt" if split == "train" else "testlist01.txt")
    videos = tree.videos(_with_folder)
    entries = []
    for line in _lines(list_path):
        name = line.split()[0]
        folder = name.split("/")[0]
        if folder not in classes:
            raise ValueError(f"{list_path}: the class {folder!r} is not in {index_path}")
        entries.append(_entry(name, videos.get(os.path.splitext(name)[0]), classes.index(folder)))
    return Listing(classes, entries)


def read_hmdb51(tree: Tree, split: Split) -> Listing:
    """HMDB51, split 1: a file for each class, with 1 for training, 2 for testing, 0 for neither."""
    pattern = re.compile(r"(.+)_test_split1\.txt")
    matches = ((pattern.fullmatch(os.path.basename(path)), path) for path in tree.paths)
    lists = {match[1]: Path(path) for match, path in matches if match}
    if not lists:
        raise missing_data(tree.data, tree.root, "there is no {class}_test_split1.txt")
    wanted = "1" if split == "train" else "2"
    videos = tree.videos(_with_folder)
    classes = tuple(sorted(lists))
    entries = []
    for label, name in enumerate(classes):
        for line in _lines(lists[name]):
            file, mark = line.rsplit(None, 1)  # file names hold # & ( ) ! ;
            if mark == wanted:
                stem = f"{name}/{os.path.splitext(file)[0]}"
                entries.append(_entry(f"{name}/{file}", videos.get(stem), label))
    return Listing(classes, entries)


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_folder(tree: Tree, split: Split) -> Listing:
    """Any folder of videos, without labels.

    A hash of the path within the folder holds out about one video in ten, so that a video keeps its side when
    others come and go. Where that leaves a side empty, validation is the one video with the lowest hash and
    training is all of them, whether held out or not.
    """
    root = str(tree.root)
    names = {os.path.relpath(path, root): path for path in tree.videos(str).values()}
    if not names:
        raise missing_data(tree.data, tree.root, f"no file there is a video ({' '.join(SUFFIXES)})")
    hashes = {name: _hash(name) for name in names}
    held_out = [name for name in names if hashes[name] % VALIDATION_SHARE == 0]
    rest = [name for name in names if hashes[name] % VALIDATION_SHARE]
    chosen: Sequence[str] = held_out or [min(names, key=hashes.__getitem__)]
    if split == "train":
        chosen = rest or list(names)
    return Listing((), [_entry(name, names[name], None) for name in chosen])


def _hash(name: str) -> int:
    portable = os.fsencode(name.replace(os.sep, "/"))
    return int.from_bytes(hashlib.blake2b(portable, digest_size=8).digest(), "big")
