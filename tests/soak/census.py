"""Counts what a process and all that it started hold: memory, files, processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import psutil


@dataclass(frozen=True)
class Census:
    """What the processes of a training hold at one moment."""

    seconds: float
    """Since the training began to train."""
    processes: int
    files: int
    """Open file descriptors of all of them."""
    threads: int
    """Of the training process."""
    trainer_mib: float
    """Memory of the training process alone that nobody shares."""
    memory_mib: float
    """Memory of all processes; what several share is counted once."""


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it started, itself first."""
    return [process, *process.children(recursive=True)]


def count(process: psutil.Process, seconds: float) -> Census:
    """Count; processes that end meanwhile are left out.

    Raises:
        psutil.NoSuchProcess: The process itself has ended.
    """
    own, files, memory, processes = process.memory_full_info(), 0, 0.0, 0
    for each in tree(process):
        try:
            held, shares = each.num_fds(), each.memory_full_info().pss
        except psutil.Error:
            if each is process:
                raise
            continue
        processes, files, memory = processes + 1, files + held, memory + shares
    return Census(seconds, processes, files, process.num_threads(), own.uss / 2**20, memory / 2**20)


def growth(rows: Sequence[Census], name: str, *, settled_s: float, window_s: float) -> float:
    """How much more of something there was in the last `window_s` than in the first ones after `settled_s`, as a share.

    Medians are compared: a worker that was just replaced holds less for a while.
    """
    end = rows[-1].seconds
    first = [getattr(row, name) for row in rows if settled_s <= row.seconds < settled_s + window_s]
    last = [getattr(row, name) for row in rows if end - window_s <= row.seconds]
    return median(last) / median(first) - 1
