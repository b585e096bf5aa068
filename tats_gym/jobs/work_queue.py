"""Shares work among processes and machines by locks in a common folder."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import filelock

from tats_gym.files.atomic import make_folder
from tats_gym.jobs.parallel import side_by_side

logger = logging.getLogger(__name__)

POLL_S = 10.0
"""Seconds between checks of items that other machines work on."""


class InFolder(Protocol):
    """A work item with its own folder."""

    @property
    def folder(self) -> Path:
        """Its folder."""


Item = TypeVar("Item", bound=InFolder)
Out = TypeVar("Out")


class WorkFailedError(RuntimeError):
    """Some items failed; the others are done."""


def share_out(
    function: Callable[[Item], Out],
    items: Sequence[Item],
    is_done: Callable[[Item], bool],
    *,
    jobs: int,
    own_process: bool = False,
) -> Iterator[tuple[Item, Out]]:
    """Do the items that are not done yet, `jobs` at a time, and yield each with its result; return when all are done.

    Several machines that share the folders may run this at once: each takes items that are free. The system frees the
    items of a process that dies, and another continues them. Failures are raised when all other items are done.

    Args:
        function: Does an item, continuing from the files in its folder; importable, or a partial of such a function.
        items: The work, each item in its own folder.
        is_done: Returns whether an item is done; importable too.
        jobs: Processes, see `side_by_side`.
        own_process: Whether each item has its own process.

    Raises:
        WorkFailedError: If items failed.
        StoppedError: If an item was stopped; the next call continues it.
    """
    failures: list[tuple[Item, Exception]] = []
    waiting = [item for item in items if not is_done(item)]
    while waiting:
        mine = (item for item in waiting if not is_done(item) and _free(item))  # checked when a process is free
        for item, taken in side_by_side(
            partial(_do_unless_taken, function, is_done), mine, jobs=jobs, own_process=own_process, failures=failures
        ):
            yield from ((item, result) for result in taken)
        failed = [item for item, _ in failures]
        waiting = _when_one_is_free([item for item in waiting if item not in failed and not is_done(item)], is_done)
    if failures:
        reasons = "; ".join(f"{item.folder}: {type(err).__name__}: {err}" for item, err in failures)
        message = f"{len(failures)} of {len(items)} failed, the others are done; {reasons}"
        raise WorkFailedError(message) from failures[0][1]


def _when_one_is_free(waiting: list[Item], is_done: Callable[[Item], bool]) -> list[Item]:
    """Wait while other processes work on all of the items; return those that are not done."""
    if waiting and not any(_free(item) for item in waiting):
        names = ", ".join(name_of(item) for item in waiting[:5]) + (", ..." if len(waiting) > 5 else "")
        logger.info("waiting for %d items that other processes work on: %s", len(waiting), names)
    while waiting and not any(_free(item) for item in waiting):
        time.sleep(POLL_S)
        waiting = [item for item in waiting if not is_done(item)]
    return waiting


def name_of(item: InFolder) -> str:
    """Return an item's name: the last two parts of its folder."""
    return f"{item.folder.parent.name}/{item.folder.name}"


def lock(folder: Path) -> filelock.BaseFileLock:
    """Return the lock for the work in a folder; the system releases it when the process ends."""
    make_folder(folder.parent)
    return filelock.FileLock(folder.with_name(f".{folder.name}.lock"))


def _free(item: InFolder) -> bool:
    try:
        with lock(item.folder).acquire(blocking=False):
            return True
    except filelock.Timeout:
        return False


def _do_unless_taken(function: Callable[[Item], Out], is_done: Callable[[Item], bool], item: Item) -> list[Any]:
    """Do an item and return [its result]; [] if it is done already or another process works on it."""
    try:
        with lock(item.folder).acquire(blocking=False):
            return [] if is_done(item) else [function(item)]
    except filelock.Timeout:
        return []
