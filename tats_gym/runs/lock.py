"""One process trains in a run's folder."""

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
"""Seconds that are waited for another process to let go of a run."""
NOT_HERE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)
"""How file systems say that they lock no files: some of Lustre's and NFS's."""


class RunLock:
    """Keeps every other process from training in a run's folder until it is released.

    It is released when this process ends, too, in whatever way.

    Args:
        folder: The run's; made if missing.

    Raises:
        ValueError: Another one trains there.
        OSError: The folder cannot be written.
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
            if err.errno not in NOT_HERE:
                raise
            logger.warning("%s lies where files cannot be locked: let no second process train there", folder)
        return True

    def release(self) -> None:
        """Let others train there; again does nothing."""
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
    """Begin a run in its folder; return that and the lock on it. The first process alone may ask.

    Args:
        folder: The run's; None for a new one.
        numbered: Where a new one lies, without its number.
        config: The run's settings.
        ranks: The processes that train.
        lock: On `folder`, if it is held already.
        resumed: Whether the run goes on, so that nothing is begun.
    """
    if folder is None:
        folder = create_run(numbered.parent, numbered.name, config, processes=ranks.world_size)
        return folder, RunLock(folder)
    lock = lock or RunLock(folder)
    if not resumed:
        begin_run(folder, config, processes=ranks.world_size)
    return folder, lock


@contextmanager
def lock_to_keep(folder: Path, ranks: Ranks) -> Iterator[RunLock | None]:
    """Give the first process the lock of a run's folder, for whoever trains there to release; an error releases it."""
    lock = RunLock(folder) if ranks.first else None
    try:
        yield lock
    except BaseException:
        if lock is not None:
            lock.release()
        raise
