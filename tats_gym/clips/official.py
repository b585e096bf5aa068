"""The layouts in which the owners of the four benchmarks distribute them."""

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tats_gym.clips.layouts import Entry, Listing, Part, Split, Tree
from tats_gym.clips.roots import missing_data

OFFICIAL_COUNTS: Mapping[tuple[str, Part], int] = MappingProxyType(
    {
        ("ssv2", Part("train")): 168_913,
        ("ssv2", Part("validation")): 24_777,
        ("ssv2", Part("test")): 27_157,
        ("ucf101", Part("train", 1)): 9_537,
        ("ucf101", Part("validation", 1)): 3_783,
        ("ucf101", Part("train", 2)): 9_586,
        ("ucf101", Part("validation", 2)): 3_734,
        ("ucf101", Part("train", 3)): 9_624,
        ("ucf101", Part("validation", 3)): 3_696,
        **{("hmdb51", Part("train", fold)): 3_570 for fold in (1, 2, 3)},
        **{("hmdb51", Part("validation", fold)): 1_530 for fold in (1, 2, 3)},
    }
)
"""How many videos the annotations name; copies of Kinetics-400 differ, as its videos go from YouTube."""

KINETICS_FILES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train.csv", "kinetics_train.csv"),
        "validation": ("val.csv", "validate.csv", "validation.csv", "kinetics_val.csv"),
        "test": ("test.csv", "kinetics_test.csv"),
    }
)


def read_ssv2(tree: Tree, part: Part) -> Listing:
    """Something-Something V2: the class is the template without its brackets, not the free-text `label`.

    The test split has no labels.
    """
    old = "something-something-v2-"
    labels_path = tree.annotation("labels.json", f"{old}labels.json")
    split_path = tree.annotation(f"{part.split}.json", f"{old}{part.split}.json")
    numbers = {template: int(number) for template, number in _read_json(labels_path, dict).items()}
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise ValueError(f"{labels_path}: expected the class numbers 0 to {len(numbers) - 1}, once each")
    videos = tree.videos(os.path.basename)
    fields = {"id"} if part.split == "test" else {"id", "template"}
    entries = []
    for item in _read_json(split_path, list):
        if not isinstance(item, dict) or fields - item.keys():
            wanted = " and ".join(map(repr, sorted(fields)))
            raise ValueError(f"{split_path}: expected {wanted} in each entry, got {item}")
        label = None
        if part.split != "test":
            template = item["template"].replace("[", "").replace("]", "")
            if template not in numbers:
                raise ValueError(f"{split_path}: the template {template!r} is not in {labels_path}")
            label = numbers[template]
        name = str(item["id"])
        entries.append(_entry(name, videos.get(name), label))
    return Listing(tuple(sorted(numbers, key=numbers.__getitem__)), entries)


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ValueError(f"{path}: it is not valid JSON ({err})") from err
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content


def read_k400(tree: Tree, part: Part) -> Listing:
    """Kinetics-400: classes are the sorted labels of the training split.

    A file is known by `{youtube_id}_{start:06d}_{end:06d}`, else by the 11 characters of the id. A test file
    without the column of labels is read as well.
    """
    train_path, path = (tree.annotation(*KINETICS_FILES[split]) for split in ("train", part.split))
    times = {"youtube_id", "time_start", "time_end"}
    classes = sorted({row["label"] for _, row in _read_kinetics_csv(train_path, times | {"label"})})
    numbers = {name: number for number, name in enumerate(classes)}
    by_stem = tree.videos(os.path.basename)
    by_id = tree.videos(lambda stem: os.path.basename(stem)[:11])
    entries = []
    for line, row in _read_kinetics_csv(path, times if part.split == "test" else times | {"label"}):
        label = row.get("label")
        if label is not None and label not in numbers:
            raise ValueError(f"{path}, line {line}: {label!r} is not a class of {train_path}")
        try:
            start, end = (int(float(row[field])) for field in ("time_start", "time_end"))
        except ValueError as err:
            raise ValueError(f"{path}, line {line}: expected times in seconds, got {row}") from err
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        found = by_stem.get(name) or by_id.get(row["youtube_id"])
        entries.append(_entry(name, found, None if label is None else numbers[label]))
    return Listing(tuple(classes), entries)


def _read_kinetics_csv(path: Path, fields: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = fields - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: expected a header with {sorted(missing)}, got {reader.fieldnames}")
        for row in reader:
            if any(row[field] is None for field in fields):
                raise ValueError(f"{path}, line {reader.line_num}: expected {len(row)} columns, got {row}")
            yield reader.line_num, row


def read_ucf101(tree: Tree, part: Part) -> Listing:
    """UCF101: the class is the folder, its number is 1 less than in `classInd.txt`."""
    index_path = tree.annotation("classInd.txt")
    classes = tuple(line.split()[1] for line in _lines(index_path))
    kind = "train" if part.split == "train" else "test"
    list_path = tree.annotation(f"{kind}list{part.fold:02d}.txt")
    videos = tree.videos(_with_folder)
    entries = []
    for line in _lines(list_path):
        name = line.split()[0]
        folder = name.split("/")[0]
        if folder not in classes:
            raise ValueError(f"{list_path}: the class {folder!r} is not in {index_path}")
        entries.append(_entry(name, videos.get(os.path.splitext(name)[0]), classes.index(folder)))
    return Listing(classes, entries)


def read_hmdb51(tree: Tree, part: Part) -> Listing:
    """HMDB51: a file for each class, with 1 for training, 2 for testing, 0 for neither."""
    pattern = re.compile(rf"(.+)_test_split{part.fold}\.txt")
    matches = ((pattern.fullmatch(os.path.basename(path)), path) for path in tree.paths)
    lists = {match[1]: Path(path) for match, path in matches if match}
    if not lists:
        raise missing_data(tree.data, tree.root, f"there is no {{class}}_test_split{part.fold}.txt")
    wanted = "1" if part.split == "train" else "2"
    videos = tree.videos(_with_folder)
    classes = tuple(sorted(lists))
    entries = []
    for label, name in enumerate(classes):
        for line in _lines(lists[name]):
            file, mark = [*line.rsplit(None, 1), ""][:2]  # file names hold # & ( ) ! ; and may hold spaces
            if mark not in ("0", "1", "2"):
                raise ValueError(f"{lists[name]}: expected a name and 0, 1 or 2 in each line, got {line!r}")
            if mark == wanted:
                stem = f"{name}/{os.path.splitext(file)[0]}"
                entries.append(_entry(f"{name}/{file}", videos.get(stem), label))
    return Listing(classes, entries)


def _entry(name: str, found: str | None, label: int | None) -> Entry:
    return Entry(name, None if found is None else Path(found), label)


def _with_folder(path: str) -> str:
    """The last folder and the name."""
    return "/".join(Path(path).parts[-2:])


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
