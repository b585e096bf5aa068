"""A run's metrics.jsonl, read back: what was logged at which step."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from tats_gym.files.atomic import write_whole
from tats_gym.files.text import parse_json

METRICS = "metrics.jsonl"

Row = Mapping[str, Any]
"""Names to numbers; "step" is the environment step."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read all rows of a run's folder in the order in which they were written; none of a run that has only begun.

    A last line that is still being written is left out, and so is what is no row.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    return [row for _, row in _lines(path)]


def drop_metrics_after(folder: Path, step: int) -> None:
    """Cut the file back to what was known at environment step `step`, for a run that goes on from there."""
    path = folder / METRICS
    if not path.is_file():
        return
    kept = [line for line, row in _lines(path) if row.get("step", 0) <= step]
    write_whole(path, "".join(f"{line}\n" for line in kept))


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = parse_json(line, str(path))
        except ValueError:  # a line that was being written when the run was killed
            continue
        if isinstance(row, dict) and type(row.get("step", 0)) in (int, float):
            found.append((line, row))
    return found


def speed(rows: Sequence[Row]) -> dict[str, float]:
    """Return the clips a second over all rows, which stand for equally many clips each, and the peak memory.

    Nothing of a run that was too short for a row.
    """
    timed = [row for row in rows if "time/clips_per_s" in row]
    if not timed:
        return {}
    return {
        "clips_per_s": harmonic_mean([row["time/clips_per_s"] for row in timed]),
        "peak_memory_mib": max(row["time/peak_memory_mib"] for row in timed),
    }
