"""The origin of a benchmark's numbers, and their summary over rounds."""

import os
from statistics import median
from typing import Any

from tats_gym.provenance import origin
from tats_gym.results import command_of


def benchmark_origin(name: str, config: Any) -> dict[str, Any]:
    """Return the command, code version, time and machine of a measurement."""
    record = {"command": command(name, config), **origin()}
    record["machine"]["load_before"] = round(os.getloadavg()[0], 2)  # of other processes: near 0 on a quiet machine
    return record


def command(name: str, config: Any) -> str:
    """Return the command line of a benchmark, with the options that differ from the defaults; a path is FOLDER."""
    return command_of(f"tats-gym benchmark {name}", config, without=["results"])


def over_rounds(values: list[float]) -> dict[str, Any]:
    """Return the median over rounds and all values, to five significant digits."""
    return {"median": float(f"{median(values):.5g}"), "rounds": [float(f"{value:.5g}") for value in values]}
