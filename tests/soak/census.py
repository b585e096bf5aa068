"""Counts the resources of a process and its descendants: memory, files, processes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil


@dataclass(frozen=True)
class Census:
    """The resources of a training's processes at one moment."""

    seconds: float
    """Since the training began to train."""
    processes: int
    files: int
    """Open file descriptors of all of them."""
    threads: int
    """Of the training process."""
    trainer_mib: float
    """Memory of the training process, see `memory_mib`."""
    memory_mib: float
    """Memory of all processes that no file backs, as files back the libraries; shared memory is counted once."""


def tree(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that it started, itself first."""
    return [process, *process.children(recursive=True)]


def count(process: psutil.Process, seconds: float) -> Census:
    """Count; processes that end meanwhile are left out.

    Raises:
        psutil.NoSuchProcess: The process itself has ended.
    """
    own, files, others, processes = memory_mib(process), process.num_fds(), 0.0, 1
    for each in tree(process)[1:]:
        with suppress(psutil.Error):
            held, memory = each.num_fds(), memory_mib(each)
            processes, files, others = processes + 1, files + held, others + memory
    return Census(seconds, processes, files, process.num_threads(), own, own + others)


def memory_mib(process: psutil.Process) -> float:
    """Return the anonymous and shared memory of a process, with its share of memory that others hold too.

    Pages of files are left out: their owner depends on the other users of the same libraries on the machine.

    Raises:
        psutil.NoSuchProcess: If it has ended.
    """
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError as err:
        raise psutil.NoSuchProcess(process.pid) from err
    sizes = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    return (int(sizes["Pss_Anon"]) + int(sizes["Pss_Shmem"])) / 1024


def growth(rows: Sequence[Census], name: str, *, settled_s: float, window_s: float) -> float:
    """How much more of something there was in the last `window_s` than in the first ones after `settled_s`, as a share.

    Medians are compared: a worker that was just replaced holds less for a while.
    """
    end = rows[-1].seconds
    first = [getattr(row, name) for row in rows if settled_s <= row.seconds < settled_s + window_s]
    last = [getattr(row, name) for row in rows if end - window_s <= row.seconds]
    return median(last) / median(first) - 1
