"""The index of a verified split: lines of JSON, which a run reads instead of the annotations and the folder."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from tats_gym.clips.datasets.layout import Part
from tats_gym.datasets import Split
from tats_gym.files.atomic import write_whole
from tats_gym.files.text import parse_json
from tats_gym.messages import brief
from tats_gym.settings.config_io import from_plain

T = TypeVar("T")

FORMAT = 1
"""Version of the format; it grows when older readers would misread a newer file."""

Status = Literal["ok", "short", "broken", "misplaced"]


@dataclass(frozen=True, kw_only=True)
class Header:
    """The first line: the verified split, and the window that was decoded of each video."""

    format: int = FORMAT
    """Version of the file's form."""
    data: str
    """Name of the dataset."""
    split: Split
    """Part of the dataset."""
    fold: int
    """Official division, see `Part.fold`."""
    subset: float | None
    """Share or number of clips of every class; None for all."""
    subset_seed: int
    """Seed of the subset."""
    classes: tuple[str, ...]
    """Names of the classes, by their numbers."""
    annotated: int
    """Videos in the annotations of the whole split."""
    missing: int
    """Annotated videos that were not on the disk."""
    videos: int
    """Number of lines that follow."""
    frames: int
    """Frames in the decoded window."""
    stride: int
    """Frames of the video from one frame of the window to the next."""

    @property
    def part(self) -> Part:
        """The split and the fold."""
        return Part(self.split, self.fold)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of opening a video and decoding one window."""

    frames: int | None = None
    """Frames that decode."""
    fps: float | None = None
    """Frames a second, 0 where the container does not say."""
    width: int | None = None
    """Pixels of a stored frame."""
    height: int | None = None
    """Likewise."""
    pixel_aspect: float | None = None
    """Width of a pixel over its height; None in an index that was written before it was measured."""
    status: Status
    """ok: the window fits. short: the video is shorter, its last frame will repeat. broken: the window does not decode.
    misplaced: the reader returned other frames than those requested."""
    cause: str | None = None
    """Cause of `broken` or `misplaced`."""

    @property
    def usable(self) -> bool:
        """Whether clips are cut from the video."""
        return self.status in ("ok", "short")


class Row(NamedTuple):
    """A video and its finding."""

    path: str
    """Relative to the dataset's root where it lies below it."""
    name: str
    """Name of the video, see `Video.name`."""
    label: int | None
    """Number of its class; None without labels."""
    finding: Finding
    """Result of the verification."""


def index_name(data: str, part: Part) -> str:
    """Name of the index of a part; it is looked for in the dataset's root."""
    fold = f"-fold{part.fold}" if part.fold > 1 else ""
    return f"tats-gym-{data}-{part.split}{fold}.jsonl"


def find_index(index: str | Path | None, root: Path, data: str, part: Part) -> Path | None:
    """Return the path of the index to read, None if there is none.

    Args:
        index: A file, a folder with a file named by `index_name`, "none" to read no index, or None for the file of
            that name in `root` if there is one.
        root: Folder of the dataset.
        data: Name of the dataset.
        part: Part of the dataset.

    Raises:
        FileNotFoundError: If the file that `index` names does not exist.
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
    raise FileNotFoundError(f"index: there is no file {path}; tats-gym prepare verify writes it")


def write_index(path: Path, header: Header, rows: list[Row]) -> None:
    """Write an index atomically."""
    lines = [header_line(header), *(_row_line(row) for row in rows)]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def header_line(header: Header) -> str:
    """Return the first line of an index."""
    return json.dumps(asdict(header))


def _row_line(row: Row) -> str:
    return json.dumps({"path": row.path, "name": row.name, "label": row.label, **asdict(row.finding)})


def read_index(path: Path) -> tuple[Header, list[Row]]:
    """Read an index.

    Raises:
        ValueError: If it is not in the format of `write_index`; the message names the line.
    """
    lines = _read_lines(path)
    number, first = next(lines, (1, {}))
    header = _read_header(first, f"{path}, line {number}")
    rows = [_read_row(content, f"{path}, line {number}", len(header.classes)) for number, content in lines]
    if len(rows) != header.videos:
        raise ValueError(f"{path}: its header promises {header.videos} videos, but {len(rows)} lines follow")
    if len({row.label is None for row in rows}) > 1:
        raise ValueError(f"{path}: some of its videos have a class and others none; verify the data again")
    return header, rows


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            content = parse_json(line, place)
            if not isinstance(content, dict):
                raise ValueError(f"{place}: expected a JSON object, got {brief(content)}")
            yield number, content


def _read_header(content: dict[str, Any], place: str) -> Header:
    names = {field.name for field in fields(Header)}
    if names - content.keys():
        raise ValueError(
            f"{place}: expected a header, but it lacks {sorted(names - content.keys())}; verify the data again"
        )
    if content["format"] != FORMAT:
        raise ValueError(f"{place}: format must be {FORMAT}, got {brief(content['format'])}; verify the data again")
    header = _built(Header, {name: content[name] for name in names}, place)
    if len(set(header.classes)) < len(header.classes) or not all(map(str.strip, header.classes)):
        raise ValueError(f"{place}: expected classes with a name each, got {brief(header.classes)}")
    if min(header.annotated, header.missing) < 0:
        raise ValueError(
            f"{place}: annotated and missing must not be negative, got {header.annotated} and {header.missing}"
        )
    return header


def _read_row(content: dict[str, Any], place: str, num_classes: int) -> Row:
    try:
        finding = read_finding(content, place)
        row = Row(content["path"], content["name"], content["label"], finding)
    except KeyError as err:
        raise ValueError(f"{place}: expected a video, but it lacks {err}") from err
    if not all(isinstance(text, str) and text.strip() for text in (row.path, row.name)):
        raise ValueError(f"{place}: expected a path and a name, got {brief(row.path)} and {brief(row.name)}")
    if row.label is not None and not (type(row.label) is int and 0 <= row.label < num_classes):
        raise ValueError(f"{place}: label must lie in [0, {num_classes}), got {brief(row.label)}")
    return row


def read_finding(content: dict[str, Any], place: str) -> Finding:
    """Read the finding in a line.

    Raises:
        KeyError: If a field is missing.
        ValueError: If a field has another type or value; the message begins with `place`.
    """
    content = {"pixel_aspect": None, **content}
    return _built(Finding, {field.name: content[field.name] for field in fields(Finding)}, place)


def _built(kind: type[T], values: dict[str, Any], place: str) -> T:
    try:
        return from_plain(kind, values)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{place}: {err}; verify the data again") from err
