"""Readers of the four benchmarks, in the layouts in which their owners distribute them."""

import csv
import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tats_gym.clips.datasets.layout import Entry, Listing, Part, Tree, refuse_two_classes
from tats_gym.clips.paths import missing_data
from tats_gym.datasets import Split
from tats_gym.files.text import parse_json, read_text
from tats_gym.messages import brief

KINETICS_FILES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        "train": ("train.csv", "kinetics_train.csv"),
        "validation": ("val.csv", "validate.csv", "validation.csv", "kinetics_val.csv"),
        "test": ("test.csv", "kinetics_test.csv"),
    }
)


def read_ssv2(tree: Tree, part: Part) -> Listing:
    """Read Something-Something V2: the class is the template without its brackets, not the free-text `label`.

    The test split has no labels.
    """
    old = "something-something-v2-"
    labels_path = tree.annotation("labels.json", f"{old}labels.json")
    split_path = tree.annotation(f"{part.split}.json", f"{old}{part.split}.json")
    numbers = {
        template: _class_number(number, template, labels_path)
        for template, number in _read_json(labels_path, dict).items()
    }
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise ValueError(f"{labels_path}: expected the class numbers 0 to {len(numbers) - 1}, once each")
    videos = tree.videos(os.path.basename)
    fields = {"id": (str, int)} if part.split == "test" else {"id": (str, int), "template": (str,)}
    entries = []
    for item in _read_json(split_path, list):
        if not isinstance(item, dict) or not all(_is_one_of(item.get(field), kinds) for field, kinds in fields.items()):
            wanted = " and ".join(map(repr, sorted(fields)))
            raise ValueError(f"{split_path}: expected {wanted} in each entry, got {brief(item)}")
        label = None
        if part.split != "test":
            template = item["template"].replace("[", "").replace("]", "")
            if template not in numbers:
                raise ValueError(f"{split_path}: the template {brief(template)} is not in {labels_path}")
            label = numbers[template]
        name = str(item["id"])
        entries.append(_entry(name, videos.get(name), label))
    refuse_two_classes(split_path, entries)
    return Listing(tuple(sorted(numbers, key=numbers.__getitem__)), entries)


def _class_number(number: Any, name: str, path: Path) -> int:
    """Read the number of a class, which SSv2 writes as text."""
    if not re.fullmatch("[0-9]{1,6}", str(number)) or not name.strip():
        raise ValueError(f"{path}: expected a class and its number, as text, got {brief(name)}: {brief(number)}")
    return int(number)


def _is_one_of(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value of a JSON file is of exactly these types, and not blank: True is no number."""
    return type(value) in kinds and bool(str(value).strip())


def _read_json(path: Path, kind: type) -> Any:
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {kind.__name__}, got {type(content).__name__}")
    return content


def read_k400(tree: Tree, part: Part) -> Listing:
    """Read Kinetics-400: classes are the sorted labels of the training split.

    A video is found by the name `{youtube_id}_{start:06d}_{end:06d}`, else by the 11 characters of the id. The test
    list may lack the column of labels.
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
            raise ValueError(f"{path}, line {line}: {brief(label)} is not a class of {train_path}")
        start, end = (_seconds(row[field], f"{path}, line {line}") for field in ("time_start", "time_end"))
        name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
        file = by_stem.get(name) or by_id.get(row["youtube_id"])
        entries.append(_entry(name, file, None if label is None else numbers[label]))
    refuse_two_classes(path, entries)
    return Listing(tuple(classes), entries)


def _seconds(text: str, place: str) -> int:
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not 0 <= time < 10**6:  # false for NaN too
        raise ValueError(f"{place}: expected times in seconds, of up to six digits, got {brief(text)}")
    return int(time)


def _read_kinetics_csv(path: Path, fields: set[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and rows with as many columns as the header, and a value in each of `fields`."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        header = list(reader.fieldnames or ())
        if not fields.issubset(header) or len(set(header)) < len(header):
            raise ValueError(f"{path}: expected a header with {sorted(fields)}, each column once, got {brief(header)}")
        for row in reader:
            if any(row[field] is None for field in fields) or None in row:  # None is the key of surplus columns
                raise ValueError(f"{path}, line {reader.line_num}: expected {len(header)} columns, got {brief(row)}")
            if not all(row[field].strip() for field in fields):
                raise ValueError(f"{path}, line {reader.line_num}: expected a value for each of {sorted(fields)}")
            yield reader.line_num, row
    except csv.Error as err:
        raise ValueError(f"{path}, line {reader.line_num}: it is not comma-separated text ({err})") from err


def read_ucf101(tree: Tree, part: Part) -> Listing:
    """Read UCF101: the class is the folder, its number is 1 less than in `classInd.txt`."""
    index_path = tree.annotation("classInd.txt")
    classes: dict[str, int] = {}
    for line, text in _lines(index_path):
        match = re.fullmatch(r"([0-9]{1,6})\s+(\S+)", text)
        if not match or match[2] in classes:
            raise ValueError(
                f"{index_path}, line {line}: expected `number class`, another class in each line, got {brief(text)}"
            )
        classes[match[2]] = int(match[1]) - 1
    if sorted(classes.values()) != list(range(len(classes))):
        raise ValueError(f"{index_path}: expected the class numbers 1 to {len(classes)}, once each")
    kind = "train" if part.split == "train" else "test"
    list_path = tree.annotation(f"{kind}list{part.fold:02d}.txt")
    videos = tree.videos(_with_folder)
    entries = []
    for line, text in _lines(list_path):
        name, *numbers = text.split()
        folder = name.split("/")[0]
        if folder not in classes:
            raise ValueError(f"{list_path}, line {line}: the class {brief(folder)} is not in {index_path}")
        if numbers not in ([], [str(classes[folder] + 1)]):
            raise ValueError(
                f"{list_path}, line {line}: expected `class/file.avi` and perhaps {classes[folder] + 1}, the number of "
                f"{folder} in {index_path}, got {brief(text)}"
            )
        entries.append(_entry(name, videos.get(os.path.splitext(name)[0]), classes[folder]))
    return Listing(tuple(sorted(classes, key=classes.__getitem__)), entries)


def read_hmdb51(tree: Tree, part: Part) -> Listing:
    """Read HMDB51: a file for each class marks its videos with 1 for training, 2 for testing, 0 for neither."""
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
        marks: dict[str, str] = {}
        for line, text in _lines(lists[name]):
            file, mark = [*text.rsplit(None, 1), ""][:2]  # file names hold # & ( ) ! ; and may hold spaces
            if mark not in ("0", "1", "2"):
                raise ValueError(
                    f"{lists[name]}, line {line}: expected a name and 0, 1 or 2 in each line, got {brief(text)}"
                )
            if marks.setdefault(file, mark) != mark:
                raise ValueError(
                    f"{lists[name]}, line {line}: {brief(file)} has {mark} here and {marks[file]} above, so it would "
                    "be trained on and tested; leave one of the lines"
                )
            if mark == wanted:
                stem = f"{name}/{os.path.splitext(file)[0]}"
                entries.append(_entry(f"{name}/{file}", videos.get(stem), label))
    return Listing(classes, entries)


def _entry(name: str, file: str | None, label: int | None) -> Entry:
    return Entry(name, None if file is None else Path(file), label)


def _with_folder(path: str) -> str:
    """Return the last folder and the name."""
    return "/".join(Path(path).parts[-2:])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines, without the empty ones."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line.strip()
