"""Resumes runs from the newest checkpoint in their folder."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tats_gym.runs.checkpoint import has_checkpoint, load_newest
from tats_gym.runs.folder import check_run_folder, read_config, read_record, record_resumption
from tats_gym.runs.kinds import kind_of_settings
from tats_gym.runs.lock import RunLock, lock_for_training
from tats_gym.runs.metrics import drop_metrics_after
from tats_gym.train.distributed import Ranks, broadcast

logger = logging.getLogger(__name__)


class Settings(Protocol):
    """A run's settings."""

    @property
    def seed(self) -> int:
        """Seed of all random draws."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""


class Run(Protocol):
    """A training that saves checkpoints."""

    @property
    def config(self) -> Settings:
        """Its settings, complete with values that depend on others."""

    @property
    def step(self) -> int:
        """Steps so far, as its metrics count them."""

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""


RunT = TypeVar("RunT", bound=Run)
Make = Callable[..., RunT]
"""Builds a run from `config`, `ranks`, `folder` (None: a new one), the folder's `lock` and a checkpoint's `state`."""


def resume_run(make: Make[RunT], folder: Path, config: Settings, ranks: Ranks) -> RunT:
    """Resume the run in `folder` from its newest checkpoint.

    Raises:
        FileNotFoundError: If the folder holds no run; it is not created.
        CheckpointError: If no checkpoint in it is intact, or its networks differ from the settings.
    """
    read_record(folder)
    with lock_for_training(folder, ranks) as lock:
        return _resume_locked(make, folder, config, ranks, lock)


def begin_or_resume_run(make: Make[RunT], folder: Path | None, config: Settings, ranks: Ranks) -> RunT:
    """Resume the run in `folder` from its newest checkpoint, or begin a new run where there is none."""
    if folder is None:
        return make(config=config, ranks=ranks)
    if ranks.first:
        check_run_folder(folder, config.as_dict())
    with lock_for_training(folder, ranks) as lock:
        if broadcast(has_checkpoint(folder)):
            return _resume_locked(make, folder, config, ranks, lock)
        return make(config=config, ranks=ranks, folder=folder, lock=lock)


def _resume_locked(make: Make[RunT], folder: Path, config: Settings, ranks: Ranks, lock: RunLock | None) -> RunT:
    seed = read_config(folder, kind_of_settings(config.as_dict())).get("seed")
    if config.seed != seed:
        raise ValueError(
            f"the run in {folder} has the seed {seed} and goes on with it, got {config.seed}; "
            "give that one, or another folder for another run"
        )
    run = make(config=config, ranks=ranks, folder=folder, lock=lock, state=load_newest(folder, ranks))
    if ranks.first and run.finished:
        logger.info("%s has no step left to train after %d; more epochs would go on", folder, run.step)
    elif ranks.first:
        record_resumption(folder, run.config.as_dict(), run.step, processes=ranks.world_size)
    if ranks.first:
        drop_metrics_after(folder, run.step)
    return run
