"""Checkpoints: written whole or not at all, loaded without running anything that lies in them."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

PATTERN = "step-*.pt"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, half-written, or not one of ours."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
    """Write `state` as the folder's newest checkpoint, then delete all but the `keep` newest.

    The file appears under its name only when it is complete and on disk.

    Args:
        folder: Where checkpoints lie; made if missing.
        step: Environment steps so far; part of the file name.
        state: Nested dicts and lists of tensors, numbers and strings.
        keep: How many to leave, at least 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PATTERN.replace("*", f"{step:012d}")
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for old in sorted(folder.glob(PATTERN))[: -max(1, keep)]:
        old.unlink()
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether `latest_checkpoint` would find one."""
    return bool(_checkpoints(folder))


def latest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint of a run's folder or of its `checkpoints` folder."""
    found = _checkpoints(folder)
    if not found:
        raise CheckpointError(f"no checkpoint ({PATTERN}) in {folder} nor in {folder / 'checkpoints'}")
    return found[-1]


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN)) or sorted((folder / "checkpoints").glob(PATTERN))


def load_checkpoint(path: Path, allow: Sequence[type] = ()) -> dict[str, Any]:
    """Read a checkpoint, or a run folder's newest, into host memory; weights only, so no code in it is run.

    Args:
        path: A run's folder or a file.
        allow: Classes beside tensors and plain values whose instances the file may hold.

    Raises:
        CheckpointError: There is none, it is half-written, or it holds objects of other classes.
    """
    path = Path(path)
    if path.is_dir():
        path = latest_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with torch.serialization.safe_globals(list(allow)):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError) as err:
        raise CheckpointError(
            f"{path} is not a whole checkpoint of plain tensors; it may be half-written, or hold objects whose loading "
            f"would run code, which was not done: {str(err).partition(chr(10))[0]}"
        ) from err
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a dict of states")
    return state
