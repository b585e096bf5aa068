"""Results of experiments: text tables, and records and pictures in files."""

import json
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.provenance import origin


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pad the cells of all lines, the header included, so that the columns align."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def results_folder() -> Path:
    """Return the folder of records: benchmarks/results where there is one, as in a checkout, else results."""
    in_checkout = Path("benchmarks/results")
    return in_checkout if in_checkout.is_dir() else Path("results")


def origin_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the origin of results of runs: as `origin`, with the commits of all runs and of this report.

    Args:
        rows: A row for each run, with its "commit".
    """
    now = origin()
    return {**now, "commits": sorted({row["commit"] for row in rows} | {now["commit"]}, key=str)}


def command_of(command: str, config: Any, *, without: Collection[str] = ("jobs", "out", "results")) -> str:
    """Return the command line that repeats a result, with the settings that differ from their defaults.

    Args:
        command: The program and its command.
        config: A dataclass of settings; a path in it becomes FOLDER.
        without: Settings of files and processes, which do not change the numbers.
    """
    words = command.split()
    for field in fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.name in without or value == default:
            continue
        values = value if isinstance(value, tuple) else (value,)
        words += [f"--{field.name.replace('_', '-')}"]
        words += ["FOLDER" if isinstance(each, Path) else str(each) for each in values]
    return shlex.join(words)


def write_results(path: Path, record: Mapping[str, Any], picture: NDArray[np.uint8] | None = None) -> str:
    """Write a record and a picture into a folder, made if it is missing, and return the lines with their paths.

    Args:
        path: Path of the files, without their suffixes.
        record: Plain values, written as `path`.json.
        picture: (height, width, 3), written as `path`.png.
    """
    make_folder(path.parent)
    numbers = f"{path}.json"
    write_whole(Path(numbers), json.dumps(record, indent=1) + "\n")
    if picture is None:
        return f"numbers: {numbers}"
    import matplotlib.image  # takes a second, and records without a picture do not need it

    matplotlib.image.imsave(f"{path}.png", picture)
    return f"numbers: {numbers}\npicture: {path}.png"
