"""Locks a run's folder, so that one process at a time trains in it."""

import errno
import fcntl
import logging
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tats_gym.files.atomic import make_folder
from tats_gym.runs.folder import begin_run, create_run
from tats_gym.train.distributed import Ranks

logger = logging.getLogger(__name__)

WAIT_S = 10.0
"""Seconds to wait for another process to release a run."""
UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""Errors of file systems without file locks, such as some Lustre and NFS."""


class RunLock:
    """Keeps other processes from training in a run's folder until it is released, or this process ends.

    Args:
        folder: Folder of the run, made if missing.

    Raises:
        ValueError: If another process trains there.
        OSError: If the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        self._handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        self._close = weakref.finalize(self, os.close, self._handle)
        deadline = time.monotonic() + WAIT_S
        while not self._try(folder):
            if time.monotonic() > deadline:
                self.release()
                raise ValueError(
                    f"another process trains in {folder}; wait until it has ended, stop it, or name another folder"
                )
            time.sleep(0.1)

    def _try(self, folder: Path) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as err:
            if err.errno not in UNSUPPORTED:
                raise
            logger.warning("%s is on a file system without locks: do not train there in two processes", folder)
        return True

    def release(self) -> None:
        """Release the folder; a second call has no effect."""
        self._close()


def claim_run(
    folder: Path | None,
    numbered: Path,
    config: dict[str, Any],
    ranks: Ranks,
    *,
    lock: RunLock | None,
    resumed: bool,
) -> tuple[Path, RunLock]:
    """Begin a run in its folder unless it is resumed; return the folder and the lock on it. For rank 0 alone.

    Args:
        folder: Folder of the run; None for a new one.
        numbered: Path of a new folder, without its number.
        config: The run's settings.
        ranks: The ranks of the training.
        lock: The lock on `folder`, if it is held already.
        resumed: Whether the run is resumed, so that its record stays.
    """
    if folder is None:
        folder = create_run(numbered.parent, numbered.name, config, processes=ranks.world_size)
        return folder, RunLock(folder)
    lock = lock or RunLock(folder)
    if not resumed:
        begin_run(folder, config, processes=ranks.world_size)
    return folder, lock


@contextmanager
def lock_for_training(folder: Path, ranks: Ranks) -> Iterator[RunLock | None]:
    """Lock a run's folder in rank 0; the training releases the lock, this context only does on an error."""
    lock = RunLock(folder) if ranks.first else None
    try:
        yield lock
    except BaseException:
        if lock is not None:
            lock.release()
        raise
