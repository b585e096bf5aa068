"""Videos without an owner's layout: any folder, and the `path label` lists that VideoMAE and its heirs read."""

import csv
import io
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from tats_gym.clips.datasets.advice import advice_for_folder, advice_for_line
from tats_gym.clips.datasets.films import SETTINGS_FILE, films_of
from tats_gym.clips.datasets.layout import (
    Entry,
    Listing,
    Part,
    Tree,
    VideoList,
    contradiction,
    name_hash,
)
from tats_gym.clips.datasets.segments import read_table, refuse_shared_videos, with_equal_times
from tats_gym.clips.paths import missing_data
from tats_gym.clips.readers import split_span
from tats_gym.datasets import Split
from tats_gym.files.atomic import write_whole
from tats_gym.files.text import read_text
from tats_gym.files.video_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from tats_gym.messages import brief, listed

logger = logging.getLogger(__name__)

VALIDATION_SHARE = 10
"""One video in this many is held out in a folder, which has no official split."""

LIST_FILES: Mapping[Split, str] = MappingProxyType({"train": "train.csv", "validation": "val.csv", "test": "test.csv"})
"""VideoMAE's names of the lists (https://github.com/MCG-NJU/VideoMAE/blob/main/DATASET.md)."""

LABELLED = re.compile(r"(.*\S)[ \t]+([0-9]{1,6})")
"""A path, which may hold spaces, and a class of at most six digits: a longer number is a mistake."""

COUNTED = re.compile(r"(.*\S)[ \t]+[0-9]+")
"""A folder of frames and their number, which VideoMAE V2's lists have."""

QUOTED = re.compile(r'"((?:[^"]|"")+)"(?:[ \t]+"?([0-9]{1,6})"?)?')
"""The same line as csv and pandas write it, with or without a class: quotation marks within the path are doubled."""


def read_folder(tree: Tree, part: Part) -> Listing:
    """Read any folder of videos, without labels.

    A hash of the path within the folder holds out about one video in ten, so that a video keeps its side when
    others come and go. Where that leaves a side empty, validation is the one video with the lowest hash and
    training is all of them, whether held out or not.

    Segments that were cut from one film, see `films_of`, stay together: the hash is of the film's name, and where a
    side would be empty, the film with the lowest hash is held out and left out of training. Of a single film some
    segments are held out from the others, with a warning.
    """
    root = str(tree.root)
    names = {os.path.relpath(path, root): path for path in tree.videos(str).values()}
    if not names:
        raise missing_data(tree.data, tree.root, advice_for_folder(tree.paths))
    films = films_of(tree.paths)
    sources = {name: films.get(path, name) for name, path in names.items()}
    if films and len(names) > 1 and len(set(sources.values())) == 1:
        logger.warning(
            "%s: all %d videos are of one film: held-out clips will look like those of the training; cut several films",
            tree.root, len(names),
        )  # fmt: skip
        sources = dict(zip(names, names, strict=True))
    held_out, few = held_out_names(sources.values())
    train = part.split == "train"
    everything = train and few and (not films or len(set(sources.values())) == 1)
    chosen = [name for name in names if everything or (sources[name] not in held_out) == train]
    return Listing((), [Entry(name, Path(names[name]), None) for name in chosen])


def held_out_names(names: Iterable[str]) -> tuple[set[str], bool]:
    """Choose about one name in ten by its hash; where that leaves a side empty, the one with the lowest hash.

    Returns:
        The names that are held out, and whether hashes alone would have left a side empty.
    """
    hashes = {name: name_hash(name) for name in names}
    held_out = {name for name, number in hashes.items() if number % VALIDATION_SHARE == 0}
    few = len(held_out) in (0, len(hashes))
    return {min(hashes, key=hashes.__getitem__)} if few else held_out, few


def read_list(tree: Tree, part: Part) -> Listing:
    """Read a list in the root: paths, absolute or relative to it, all with the number of their class or all without.

    A path is that of a video, of a segment of one, see `TimeSpan`, of an image or of a folder of frames; after the
    latter, VideoMAE V2's lists have the number of its frames, which is not needed. Segments may also be a table with
    the columns path, start, end and label, see `read_table`.

    The classes reach up to the highest number in any list of the root, so that all splits have the same classes. A
    warning names the films that have segments in train.csv too, see `films_of`.
    """
    lists = {split: _read_lines(tree.root / file) for split, file in LIST_FILES.items() if (tree.root / file).is_file()}
    if part.split not in lists:
        raise missing_data(tree.data, tree.root, f"there is no {LIST_FILES[part.split]}")
    refuse_shared_videos(tree.root, {split: [name for name, _ in lines] for split, lines in lists.items()}, LIST_FILES)
    if part.split != "train" and "train" in lists:
        _name_shared_films(tree.root, part.split, lists)
    top = max((label for lines in lists.values() for _, label in lines if label is not None), default=-1)
    entries = []
    for name, label in lists[part.split]:
        path = tree.root / name
        if not os.path.exists(path) and (counted := COUNTED.fullmatch(name)):
            path = tree.root / counted[1]
        exists = os.path.exists(split_span(path)[0])  # Path.exists raises on some names
        entries.append(Entry(name, path if exists else None, label))
    if note := contradiction(entries):  # no error: a user's own dataset may have several classes per video
        logger.warning("%s: %s; each line counts as a video", tree.root / LIST_FILES[part.split], note)
    return Listing(tuple(map(str, range(top + 1))), entries)


def _name_shared_films(root: Path, split: Split, lists: Mapping[Split, list[tuple[str, int | None]]]) -> None:
    """Warn of films with segments in train.csv and in the list of this split."""
    paths = {name: str(root / name) for part in ("train", split) for name, _ in lists[part]}
    notes = {os.path.join(os.path.dirname(path), SETTINGS_FILE) for path in paths.values()}
    films = films_of([*paths.values(), *filter(os.path.isfile, notes)])
    train, other = (
        {films[paths[name]] for name, _ in lists[part] if paths[name] in films} for part in ("train", split)
    )
    if train & other:
        logger.warning(
            "%s: %d films have segments in train.csv too (%s), which look like them; keep a film's in one list",
            root / LIST_FILES[split], len(train & other), listed(sorted(train & other)),
        )  # fmt: skip


def _read_lines(path: Path) -> list[tuple[str, int | None]]:
    text = read_text(path, any_bytes=True)  # file names need not be UTF-8
    table = read_table(text, path)
    if table is not None:
        return table
    lines = [
        (f"{path}, line {n}", line.removesuffix("\r")) for n, line in enumerate(text.split("\n"), 1) if line.strip()
    ]
    parsed = [_parse(line) for _, line in lines]
    labelled = any(label is not None for _, label in parsed)
    checked = []
    for (place, line), (name, label) in zip(lines, parsed, strict=True):
        if labelled and label is None:
            raise ValueError(
                f"{place}: expected `path label`, a class number, got {brief(line)}{advice_for_line(line)}"
            )
        name = with_equal_times(name, path.parent, place)
        video = str(split_span(path.parent / name)[0])
        if not labelled and not video.lower().endswith((*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)):
            raise ValueError(
                f"{place}: expected `path label`, or the path of a video in every line, "
                f"got {brief(line)}{advice_for_line(line)}"
            )
        checked.append((name, label))
    return checked


def _parse(line: str) -> tuple[str, int | None]:
    """Split a line into its path, quoted or not, and its class, None where it has none."""
    match = QUOTED.fullmatch(line.rstrip())
    if match:
        name, label = match[1].replace('""', '"'), match[2]
    else:
        match = LABELLED.fullmatch(line.rstrip())
        name, label = (match[1], match[2]) if match else (line, None)
    return name, None if label is None else int(label)


def write_list(videos: VideoList, path: str | Path) -> None:
    """Write videos as a list that the peers' code and `read_list` read, with absolute paths.

    A path with a space or a quotation mark is quoted, as `pandas.read_csv` expects.

    Raises:
        ValueError: If a path holds a line break.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, delimiter=" ", lineterminator="\n")
    for video in videos.videos:
        file = os.path.abspath(video.path)
        if "\n" in file or "\r" in file:
            raise ValueError(f"a list cannot hold a path with a line break, got {file!r}")
        writer.writerow([file] if video.label is None else [file, video.label])
    write_whole(Path(path), lines.getvalue())
