"""Work in folders that processes and machines share: each takes what no other has in hand."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import filelock

from tats_gym.files.atomic import make_folder
from tats_gym.runs.parallel_jobs import side_by_side

logger = logging.getLogger(__name__)

POLL_S = 10.0
"""Seconds until it is looked again whether another machine has ended what it has in hand."""


class InFolder(Protocol):
    """Something that is worked on in a folder of its own."""

    @property
    def folder(self) -> Path:
        """Its folder."""


Item = TypeVar("Item", bound=InFolder)
Out = TypeVar("Out")


class WorkFailedError(RuntimeError):
    """Some of the work failed; the rest is done."""


def share_out(
    function: Callable[[Item], Out],
    items: Sequence[Item],
    done: Callable[[Item], bool],
    *,
    jobs: int,
    apart: bool = False,
) -> Iterator[tuple[Item, Out]]:
    """Do what is not done yet, `jobs` at a time, and yield it as it comes; return when all is done, by whomever.

    The same may be asked for on several machines that share the folders: each takes what no other has in hand. Whoever
    dies lets go, and another goes on. What fails here is told at the end, when the rest is done.

    Args:
        function: Does an item, going on with what lies in its folder; importable, or a partial of such a one.
        items: What is to be done, each in a folder of its own.
        done: Whether an item is; importable too.
        jobs: Processes, see `side_by_side`.
        apart: Whether each item has a process of its own.

    Raises:
        WorkFailedError: If some failed.
        StoppedError: If one was stopped; the next call goes on with it.
    """
    failures: list[tuple[Item, Exception]] = []
    waiting = [item for item in items if not done(item)]
    while waiting:
        mine = (item for item in waiting if not done(item) and _free(item))  # looked at when its turn comes
        for item, taken in side_by_side(
            partial(_do_unless_taken, function, done), mine, jobs=jobs, apart=apart, failures=failures
        ):
            yield from ((item, result) for result in taken)
        failed = [item for item, _ in failures]
        waiting = [item for item in waiting if item not in failed and not done(item)]
        if waiting and not any(_free(item) for item in waiting):
            names = ", ".join(name_of(item) for item in waiting[:5]) + (", ..." if len(waiting) > 5 else "")
            logger.info("%d in the hands of others, waited for: %s", len(waiting), names)
            while waiting and not any(_free(item) for item in waiting):
                time.sleep(POLL_S)
                waiting = [item for item in waiting if not done(item)]
    if failures:
        told = "; ".join(f"{item.folder}: {type(err).__name__}: {err}" for item, err in failures)
        message = f"{len(failures)} of {len(items)} failed, the others are done; {told}"
        raise WorkFailedError(message) from failures[0][1]


def name_of(item: InFolder) -> str:
    """Return the last two parts of its folder."""
    return f"{item.folder.parent.name}/{item.folder.name}"


def lock(folder: Path) -> filelock.BaseFileLock:
    """Return the lock of whoever works in a folder; the system opens it when that process ends, however."""
    make_folder(folder.parent)
    return filelock.FileLock(folder.with_name(f".{folder.name}.lock"))


def _free(item: InFolder) -> bool:
    try:
        with lock(item.folder).acquire(blocking=False):
            return True
    except filelock.Timeout:
        return False


def _do_unless_taken(function: Callable[[Item], Out], done: Callable[[Item], bool], item: Item) -> list[Any]:
    """Do an item; return what came of it, or nothing where it is done already, or in the hands of another process."""
    try:
        with lock(item.folder).acquire(blocking=False):
            return [] if done(item) else [function(item)]
    except filelock.Timeout:
        return []
