"""What every benchmark's record says of where its numbers come from, and how it is written."""

import json
import os
from pathlib import Path
from statistics import median
from typing import Any

from tats_gym.files.atomic import make_folder
from tats_gym.runs import folder
from tats_gym.runs.results import command_of


def origin(name: str, config: Any) -> dict[str, Any]:
    """Say which command gave the numbers, of which code, when and where."""
    record = {"command": command(name, config), **folder.origin()}
    record["machine"]["load_before"] = round(
        os.getloadavg()[0], 2
    )  # others that compute here: near 0 where it is quiet
    return record


def command(name: str, config: Any) -> str:
    """Return the command line of a benchmark with what differs from its defaults; a path is FOLDER."""
    return command_of(f"benchmark.py {name}", config, without=["results"])


def over_rounds(values: list[float]) -> dict[str, Any]:
    """Return the median of what the rounds gave, and all of it, to five digits."""
    return {"median": float(f"{median(values):.5g}"), "rounds": [float(f"{value:.5g}") for value in values]}


def write(folder: Path, name: str, record: dict[str, Any]) -> Path:
    """Write a record as JSON and return where it lies."""
    make_folder(folder)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path
