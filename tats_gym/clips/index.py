"""The index of a verified split: lines of JSON that spare a start the walk through its files and annotations."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from tats_gym.clips.layouts import Part, Split
from tats_gym.files import write_whole

FORMAT = 1
"""Version of the form; it grows when older readers would misread a newer file."""

Status = Literal["ok", "short", "broken"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line: what was verified, and how."""

    format: int = FORMAT
    data: str
    split: Split
    fold: int
    subset: float | None
    subset_seed: int
    classes: tuple[str, ...]
    annotated: int
    """Videos that the annotations of the whole split name."""
    missing: int
    """How many of them the disk lacked."""
    videos: int
    """Lines that follow."""
    frames: int
    """Frames of the window that was decoded."""
    stride: int
    """Frames from one of them to the next."""

    @property
    def part(self) -> Part:
        """The split and the fold."""
        return Part(self.split, self.fold)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What opening a video and decoding one window showed."""

    frames: int | None = None
    fps: float | None = None
    """Frames a second, 0 where the container does not say."""
    width: int | None = None
    height: int | None = None
    status: Status
    """Whether a window fits, is longer than the video (its last frame will repeat), or does not decode."""
    cause: str | None = None
    """Why it is broken."""


class Row(NamedTuple):
    """A video and what is known of it."""

    path: str
    """Relative to the dataset's root where it lies below it."""
    name: str
    label: int | None
    finding: Finding


def index_name(data: str, part: Part) -> str:
    """Name of the index of a part; it is looked for in the dataset's root."""
    fold = f"-fold{part.fold}" if part.fold > 1 else ""
    return f"tats-gym-{data}-{part.split}{fold}.jsonl"


def find_index(index: str | Path | None, root: Path, data: str, part: Part) -> Path | None:
    """The index to read.

    Args:
        index: A file, a folder that holds files with the names of `index_name`, "none" for none, or None for the
            file of that name in `root` if there is one.
        root: Folder of the dataset.
        data: Name of the dataset.
        part: Which part.

    Raises:
        FileNotFoundError: The file that `index` names does not exist.
    """
    if index == "none":
        return None
    path = root / index_name(data, part) if index is None else Path(index).expanduser()
    if path.is_dir():
        path = path / index_name(data, part)
    if path.is_file():
        return path
    if index is None:
        return None
    raise FileNotFoundError(f"index: there is no file {path}; scripts/prepare_data.py verify writes it")


def write_index(path: Path, header: Header, rows: list[Row]) -> None:
    """Write an index whole or not at all."""
    lines = [header_line(header), *(_row_line(row) for row in rows)]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def header_line(header: Header) -> str:
    """The first line of an index."""
    return json.dumps(asdict(header))


def _row_line(row: Row) -> str:
    return json.dumps({"path": row.path, "name": row.name, "label": row.label, **asdict(row.finding)})


def read_index(path: Path) -> tuple[Header, list[Row]]:
    """Read an index.

    Raises:
        ValueError: It is not what `write_index` writes; the message names the line.
    """
    lines = _read_lines(path)
    number, first = next(lines, (1, {}))
    header = _read_header(first, f"{path}, line {number}")
    rows = [_read_row(content, f"{path}, line {number}", len(header.classes)) for number, content in lines]
    if len(rows) != header.videos:
        raise ValueError(f"{path}: its header promises {header.videos} videos, but {len(rows)} lines follow")
    return header, rows


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                content = json.loads(line)
            except ValueError as err:
                raise ValueError(f"{path}, line {number}: it is not valid JSON ({err})") from err
            if not isinstance(content, dict):
                raise ValueError(f"{path}, line {number}: expected a JSON object, got {content!r}")
            yield number, content


def _read_header(content: dict[str, Any], place: str) -> Header:
    names = {field.name for field in fields(Header)}
    if names - content.keys():
        raise ValueError(
            f"{place}: expected a header, but it lacks {sorted(names - content.keys())}; verify the data again"
        )
    if content["format"] != FORMAT:
        raise ValueError(f"{place}: format must be {FORMAT}, got {content['format']!r}; verify the data again")
    known = {name: content[name] for name in names}
    return Header(**known | {"classes": tuple(content["classes"])})


def _read_row(content: dict[str, Any], place: str, num_classes: int) -> Row:
    try:
        finding = read_finding(content)
        row = Row(content["path"], content["name"], content["label"], finding)
    except KeyError as err:
        raise ValueError(f"{place}: expected a video, but it lacks {err}") from err
    if finding.status not in STATUSES or not isinstance(row.path, str) or not isinstance(row.name, str):
        raise ValueError(f"{place}: expected a path, a name and a status of {STATUSES}, got {content}")
    if row.label is not None and not (isinstance(row.label, int) and 0 <= row.label < num_classes):
        raise ValueError(f"{place}: label must lie in [0, {num_classes}), got {row.label!r}")
    return row


def read_finding(content: dict[str, Any]) -> Finding:
    """What a line says of its video; raises KeyError where something is missing."""
    return Finding(**{field.name: content[field.name] for field in fields(Finding)})
