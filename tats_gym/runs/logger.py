"""Logs a run's numbers to TensorBoard and metrics.jsonl, through SB3's logger."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from stable_baselines3.common.logger import HParam, KVWriter, Logger, TensorBoardOutputFormat, filter_excluded_keys
from torch.utils.tensorboard import SummaryWriter

from tats_gym.runs.trackers import Tracker, TrackerName


class JSONLines(KVWriter):
    """Appends one line of JSON for each dump; NaN and infinities become null."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write the numbers that are not excluded from JSON."""
        row: dict[str, Any] = {"step": step}
        for key, value in sorted(filter_excluded_keys(key_values, key_excluded, "json").items()):
            if isinstance(value, str):
                row[key] = value
            elif isinstance(value, int | float | np.number):
                row[key] = value if isinstance(value, int) else _finite(float(value))
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


COMPARED = ("held_out/gain", "held_out/content_gain", "held_out/error_own", "held_out/error_random", "mae/loss")
"""Numbers by which TensorBoard's tab of hyperparameters compares runs."""


def run_logger(
    folder: Path | None, step: int, settings: Mapping[str, Any] | None = None, track: TrackerName | None = None
) -> Logger:
    """Make an SB3 logger that writes into a run's folder, and to a tracker, not to the terminal.

    Args:
        folder: The run's folder; None disables the logger.
        step: Masks so far, or optimiser steps; TensorBoard drops later points.
        settings: The run's settings by their dotted names: TensorBoard's hyperparameters, and the tracker's.
        track: A tracker.

    Raises:
        ValueError: If the tracker's library is not installed.
    """
    if folder is None:
        return Logger(None, [])
    begun_before = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*")]
    if begun_before and max(begun_before) == int(time.time()):
        # TensorBoard reads files in the order of their names, which hold their start times in whole seconds.
        time.sleep(1 - time.time() % 1)
    board = TensorBoardOutputFormat(str(folder))
    if begun_before:
        board.writer.close()
        board.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else 0)
    trackers = [] if track is None else [Tracker(track, folder, settings or {})]
    logger = Logger(str(folder), [board, JSONLines(folder / "metrics.jsonl"), *trackers])
    if settings:
        plain = {
            name: value if isinstance(value, int | float | str) else str(value) for name, value in settings.items()
        }
        logger.record("settings", HParam(plain, dict.fromkeys(COMPARED, 0.0)), exclude=("json",))
    return logger
