"""Segments in lists: the table `path,start,end,label`, forms of times, and the two sides of a split."""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path

from tats_gym.clips.readers import TimeSpan, split_span
from tats_gym.datasets import Split
from tats_gym.files.video_files import VIDEO_SUFFIXES
from tats_gym.messages import brief, listed

COLUMNS = ("path", "start", "end")
"""Columns of a table of segments; `label` may be a fourth."""

SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
MINUTES = re.compile(r"[0-9]{1,4}(:[0-5]?[0-9])?:[0-5]?[0-9](\.[0-9]+)?")
"""[H:]M:S, as EPIC-KITCHENS writes 00:00:01.089."""

FRAGMENT = re.compile(r"(.+)#t=([^/]*)", re.DOTALL)
"""A path that seems to name a segment, rightly or not."""

WAY_OUT = "correct the line or leave it out"


def read_table(text: str, place: Path) -> list[tuple[str, int | None]] | None:
    """Read a comma-separated table of segments, whose first line names its columns in any order.

    Args:
        text: The file's content.
        place: The file, for messages.

    Returns:
        The path of each segment, see `TimeSpan`, and its class; None if the first line is not such a header.

    Raises:
        ValueError: If the table has other columns, or a segment is none; the message names the line.
    """
    blank = len(text) - len(text.lstrip())
    header = [name.strip(' "') for name in text[blank:].partition("\n")[0].strip().split(",")]
    if not set(COLUMNS) <= set(header):
        return None
    if sorted(header) not in (sorted(COLUMNS), sorted((*COLUMNS, "label"))):
        raise ValueError(f"{place}: expected the columns path,start,end or path,start,end,label, got {brief(header)}")
    rows, above = csv.reader(io.StringIO(text[blank:], newline="")), text.count("\n", 0, blank)
    next(rows)
    try:
        return [_parse(header, row, f"{place}, line {above + rows.line_num}") for row in rows if any(row)]
    except csv.Error as err:
        raise ValueError(f"{place}, line {above + rows.line_num}: it is not comma-separated text ({err})") from err


def _parse(header: list[str], row: list[str], place: str) -> tuple[str, int | None]:
    """Return the path and the class in a line of a table."""
    if len(row) != len(header):
        raise ValueError(f"{place}: expected {len(header)} values, for {','.join(header)}, got {brief(row)}; {WAY_OUT}")
    values = dict(zip(header, row, strict=True))
    if not values["path"].strip():
        raise ValueError(f"{place}: path must name a video, got {brief(values['path'])}; {WAY_OUT}")
    label = values.get("label")
    if label is not None and not re.fullmatch(r"\s*[0-9]{1,6}\s*", label):
        raise ValueError(f"{place}: label must be a class number of at most six digits, got {brief(label)}; {WAY_OUT}")
    span = TimeSpan(*(_seconds(name, values[name].strip(), place) for name in ("start", "end")))
    return _checked(values["path"], span, place), None if label is None else int(label)


def with_equal_times(name: str, folder: Path, place: str) -> str:
    """Return a path of a list with its times, if any, as `TimeSpan` writes them.

    Raises:
        ValueError: If it seems to name a segment, but its times are none; the message begins with `place`.
    """
    match = FRAGMENT.fullmatch(name)
    if not match or name.lower().endswith(VIDEO_SUFFIXES) or os.path.exists(folder / name):
        return name
    times = match[2].split(",")
    if len(times) != 2:
        raise ValueError(f"{place}: expected `#t=start,end` after the path, got {brief('#t=' + match[2])}; {WAY_OUT}")
    span = TimeSpan(*(_seconds(which, time, place) for which, time in zip(("start", "end"), times, strict=True)))
    return _checked(match[1], span, place)


def _seconds(which: str, text: str, place: str) -> Decimal:
    if not (SECONDS.fullmatch(text) or MINUTES.fullmatch(text)):
        raise ValueError(
            f"{place}: {which} must be a time from the video's first frame on, in seconds or as HH:MM:SS.mmm, "
            f"got {brief(text)}; {WAY_OUT}"
        )
    seconds = Decimal(0)
    for part in text.split(":"):
        seconds = 60 * seconds + Decimal(part)
    return seconds


def _checked(path: str, span: TimeSpan, place: str) -> str:
    if span.start_s >= span.end_s:
        raise ValueError(f"{place}: start must lie before end, got {span.start_s} s and {span.end_s} s; {WAY_OUT}")
    return span.within(path)


def refuse_shared_videos(root: Path, names: Mapping[Split, Iterable[str]], files: Mapping[Split, str]) -> None:
    """Raise ValueError if a video that has segments in the list of the training also stands in that of another split.

    Args:
        root: Folder of the lists.
        names: Paths in each list, absolute or relative to the root.
        files: Name of each list.
    """
    if not any(FRAGMENT.fullmatch(name) for paths in names.values() for name in paths):
        return
    files_by_split = {split: _files(root, paths) for split, paths in names.items()}
    train, cut_in_train = files_by_split.pop("train", (set(), set()))
    for split, (files_there, cut_there) in files_by_split.items():
        shared = train & files_there & (cut_in_train | cut_there)
        if shared:
            shown_names = sorted(os.path.relpath(file, os.path.realpath(root)) for file in shared)
            raise ValueError(
                f"{root / files[split]}: {len(shared)} videos have segments or stand in {files['train']} too "
                f"({listed(shown_names)}), which look like these; put all segments of a video into one of the lists"
            )


def _files(root: Path, names: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the files that paths of a list lead to, and those of them that have segments there."""
    split = [split_span(root / name) for name in set(names)]
    real = {file: os.path.realpath(file) for file in {file for file, _ in split}}
    return set(real.values()), {real[file] for file, span in split if span}
