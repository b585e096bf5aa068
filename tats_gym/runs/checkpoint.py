"""Writes checkpoints atomically, and loads them with checksums verified and without running code in them."""

import errno
import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tats_gym.files.atomic import as_os_error, make_folder, sync_to_disk
from tats_gym.messages import first_line
from tats_gym.train.distributed import Ranks, broadcast
from tats_gym.train.memory import out_of_memory

logger = logging.getLogger(__name__)

PATTERN = "step-*.pt"
PARTIAL = ".partial"

FOLDER = 0x10
"""External attribute bit that marks a ZIP entry as a folder."""

DAMAGED = (
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, EOFError, ValueError,
    LookupError, AttributeError, TypeError, NotImplementedError, OverflowError, OSError,
    AssertionError,
)  # fmt: skip
"""Errors that readers raise on damaged files."""


class CheckpointError(RuntimeError):
    """A checkpoint is missing, incomplete, damaged, or of another program."""


def save_checkpoint(
    folder: Path, step: int, state: dict[str, Any], *, keep: int, keep_hours: float | None = None
) -> Path:
    """Write `state` as the folder's newest checkpoint, then delete old ones.

    The file gets its name only when it is complete and on disk. It is a ZIP archive with a checksum for each entry.

    Args:
        folder: Folder of the checkpoints; made if missing.
        step: Masks so far, or optimiser steps of a fine-tuning; part of the file name.
        state: Nested dicts and lists of tensors, numbers and strings.
        keep: Number of the newest checkpoints to keep, at least 1.
        keep_hours: Hours from one older checkpoint that is kept to the next; None keeps none.

    Raises:
        OSError: If the disk is full, or the folder cannot be written; older checkpoints are still there.
    """
    make_folder(folder)
    path = folder / PATTERN.replace("*", f"{step:012d}")
    for cut_off in folder.glob(f"*{PARTIAL}"):  # by a process that was killed within `write_checkpoint`
        cut_off.unlink()
    write_checkpoint(path, state)
    _delete_old(folder, path, keep, keep_hours)
    return path


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a file of checkpoints, whole or not at all; see `save_checkpoint`."""
    partial = path.with_suffix(PARTIAL)
    try:
        with partial.open("wb") as file:
            with as_os_error(path):
                torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _delete_old(folder: Path, newest: Path, keep: int, keep_hours: float | None) -> None:
    kept_s = None
    for old in sorted(folder.glob(PATTERN))[: -max(1, keep)]:
        if old == newest:  # checkpoints after it are of a run that had gone further
            continue
        written_s = old.stat().st_mtime
        if keep_hours is not None and (kept_s is None or written_s - kept_s >= keep_hours * 3600):
            kept_s = written_s
        else:
            old.unlink()


def has_checkpoint(folder: Path) -> bool:
    """Return whether `latest_checkpoint` would find one."""
    return bool(_checkpoints(folder))


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint in a run's folder or in its `checkpoints` folder."""
    checkpoints = _checkpoints(folder)
    if not checkpoints:
        raise CheckpointError(
            f"no checkpoint ({PATTERN}) in {folder} nor in {folder / 'checkpoints'}; "
            f"to start such a run anew, repeat its command with --folder {folder}"
        )
    return checkpoints[-1]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN)) or sorted((folder / "checkpoints").glob(PATTERN))


def load_newest(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Load a run's newest intact checkpoint, the same in all ranks, as `load_checkpoint` does.

    Damaged ones after it are logged and renamed, so that they do not count among the newest to keep.

    Raises:
        CheckpointError: If none is intact; no file is renamed.
        OSError: If one cannot be read although it may be intact.
    """
    path, state = _newest_whole(folder) if ranks.first else (None, {})
    path = broadcast(path)
    return state if ranks.first else load_checkpoint(path)


def _newest_whole(folder: Path) -> tuple[Path, dict[str, Any]]:
    newest, damaged = latest_checkpoint(folder), dict[Path, CheckpointError]()
    for path in reversed(_checkpoints(folder)):
        try:
            state = _load(path)
            break
        except CheckpointError as err:
            damaged[path] = err
    else:
        raise CheckpointError(
            f"no checkpoint in {newest.parent} is whole; begin the run anew in another folder. "
            f"Newest: {damaged[newest]}"
        )
    for each, why in damaged.items():
        aside = each.with_suffix(".damaged")
        each.replace(aside)
        logger.warning("%s; it is kept as %s, and an older one is taken", why, aside.name)
    return path, state


def load_checkpoint(path: Path, allow: Sequence[type] = ()) -> dict[str, Any]:
    """Load a checkpoint, or a run folder's newest, into host memory; weights only, so no code in it is run.

    Its ZIP checksums are verified first.

    Args:
        path: A run's folder or a file.
        allow: Classes that the file may hold beside tensors and plain values.

    Raises:
        CheckpointError: If there is none, it is incomplete or damaged, or it holds objects of other classes; the
            message names an older intact one.
        OSError: If it cannot be read, or memory runs out.
    """
    path = Path(path)
    if path.is_dir():
        path = latest_checkpoint(path)
    try:
        return _load(path, allow)
    except CheckpointError as err:
        raise CheckpointError(f"{str(err).rstrip('.')}{_older_whole(path)}") from err


def _load(path: Path, allow: Sequence[type] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; name a checkpoint, or the folder of a run that has saved one")
    try:
        _check(path)
        with torch.serialization.safe_globals(list(allow)):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as err:
        _raise_if_unread(err, path)
        raise CheckpointError(
            f"{path} is not a whole checkpoint of plain tensors; it may be half-written or damaged, or hold objects "
            f"whose loading would run code, which was not done: {first_line(err)}"
        ) from err
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dict of states")
    return state


def _older_whole(damaged: Path) -> str:
    """Return a message with the newest intact checkpoint before a damaged one, or ""."""
    older = [path for path in _checkpoints(damaged.parent) if path < damaged] if damaged.match(PATTERN) else []
    for path in reversed(older):
        with suppress(CheckpointError, OSError):
            _load(path)
            return f". {path} is whole: name that one"
    return ""


def _check(path: Path) -> None:
    """Verify the checksums in a ZIP archive, which torch does not; other files have none."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        wrong = archive.testzip()
        # Where an entry is marked as a folder, or its header has another size, torch reads too little or too much.
        sizes = [
            part.filename
            for part in archive.infolist()
            if part.compress_size != part.file_size or part.external_attr & FOLDER
        ]
    if wrong or sizes:
        raise zipfile.BadZipFile(f"its part {wrong or sizes[0]} does not match its checksum or size")


def _raise_if_unread(err: BaseException, path: Path) -> None:
    """Raise errors of the disk and out-of-memory errors, which do not mean a damaged file."""
    if isinstance(err, OSError) and err.errno != errno.EINVAL:  # EINVAL: a seek outside the file
        raise err
    if out_of_memory(err):
        raise OSError(errno.ENOMEM, "memory does not suffice to load it", str(path)) from err
