"""Runs that go on: found in their folder, built as their newest checkpoint left them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tats_gym.runs.checkpoint import has_checkpoint, load_newest
from tats_gym.runs.folder import check_own, continue_run, read_config, read_record
from tats_gym.runs.kinds import kind_of_settings
from tats_gym.runs.lock import RunLock, lock_to_keep
from tats_gym.runs.metrics import drop_metrics_after
from tats_gym.train.distributed import Ranks, from_first

logger = logging.getLogger(__name__)


class Settings(Protocol):
    """What a run is made of."""

    @property
    def seed(self) -> int:
        """Source of all that is drawn."""

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""


class Run(Protocol):
    """A training that saves checkpoints."""

    @property
    def config(self) -> Settings:
        """Its settings, with what others decide filled in."""

    @property
    def step(self) -> int:
        """Steps so far, as its metrics count them."""

    @property
    def finished(self) -> bool:
        """Whether no step is left."""


RunT = TypeVar("RunT", bound=Run)
Make = Callable[..., RunT]
"""Builds a run from `config`, `ranks` and `folder` (None: a new one), the `lock` on it and a checkpoint's `state`."""


def go_on(make: Make[RunT], folder: Path, config: Settings, ranks: Ranks) -> RunT:
    """Build the run in `folder` as its newest checkpoint left it.

    Raises:
        FileNotFoundError: It holds no run; nothing is made there.
        CheckpointError: No checkpoint in it is whole, or it was made with other networks.
    """
    read_record(folder)
    with lock_to_keep(folder, ranks) as lock:
        return _go_on(make, folder, config, ranks, lock)


def begin_or_go_on(make: Make[RunT], folder: Path | None, config: Settings, ranks: Ranks) -> RunT:
    """Build the run in `folder` as its newest checkpoint left it, or a new one where there is none."""
    if folder is None:
        return make(config=config, ranks=ranks)
    if ranks.first:
        check_own(folder, config.as_dict())
    with lock_to_keep(folder, ranks) as lock:
        if from_first(has_checkpoint(folder)):
            return _go_on(make, folder, config, ranks, lock)
        return make(config=config, ranks=ranks, folder=folder, lock=lock)


def _go_on(make: Make[RunT], folder: Path, config: Settings, ranks: Ranks, lock: RunLock | None) -> RunT:
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
        continue_run(folder, run.config.as_dict(), run.step, processes=ranks.world_size)
    if ranks.first:
        drop_metrics_after(folder, run.step)
    return run
