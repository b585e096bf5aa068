"""Reads a run's metrics.jsonl, and cuts it back when the run is resumed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from tats_gym.files.atomic import write_whole
from tats_gym.files.text import parse_json

METRICS = "metrics.jsonl"

RENAMED = {"time/clips_per_s": "time/masks_per_s"}
"""Older to present names of numbers that a pre-training logs."""

Row = Mapping[str, Any]
"""Names to numbers; "step" counts masks (SB3's timesteps) in a pre-training, optimiser steps in a fine-tuning."""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read a run's rows in the order in which they were written; none if the file is missing.

    Lines that are not rows are left out, such as a last one that is still being written.
    """
    path = folder / METRICS
    if not path.is_file():
        return []
    return [row for _, row in _lines(path)]


def drop_metrics_after(folder: Path, step: int) -> None:
    """Delete the rows after `step`, for a run that is resumed there."""
    path = folder / METRICS
    if not path.is_file():
        return
    kept = [line for line, row in _lines(path) if row.get("step", 0) <= step]
    write_whole(path, "".join(f"{line}\n" for line in kept))


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            row = parse_json(line, str(path))
        except ValueError:  # the run was killed while it wrote this line
            continue
        if isinstance(row, dict) and type(row.get("step", 0)) in (int, float):
            lines.append((line, row))
    return lines


def pretraining_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a pre-training, of this version or an older one."""
    return [{RENAMED.get(name, name): value for name, value in row.items()} for row in read_metrics(folder)]


def speed(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean speed in masks per second, each row being as many masks, and the peak memory in MiB.

    Empty for a run that was too short for a row.
    """
    timed = [row for row in rows if "time/masks_per_s" in row]
    if not timed:
        return {}
    return {
        "masks_per_s": harmonic_mean([row["time/masks_per_s"] for row in timed]),
        "peak_memory_mib": max(row["time/peak_memory_mib"] for row in timed),
    }
