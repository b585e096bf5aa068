"""Fine-tunings that go on: found in their folder, built as their newest checkpoint left them."""

from pathlib import Path

from tats_gym.checkpoint import has_checkpoint, load_newest
from tats_gym.distributed import Ranks, from_first
from tats_gym.finetune_config import FinetuneConfig
from tats_gym.finetuning import Finetuning
from tats_gym.metrics import drop_metrics_after
from tats_gym.run_lock import RunLock, lock_to_keep
from tats_gym.runs import read_config, update_config


def resume(folder: Path, config: FinetuneConfig | None = None, ranks: Ranks | None = None) -> Finetuning:
    """Build the run in `folder` as its newest checkpoint left it, with other settings where `config` is given."""
    begun_with = read_config(folder)  # before a folder is made where there is no run
    config = config or FinetuneConfig.from_dict(begun_with)
    ranks = ranks or Ranks.alone(config.device)
    with lock_to_keep(folder, ranks) as lock:
        return _resume(folder, config, ranks, lock)


def begin_or_resume(folder: Path, config: FinetuneConfig, ranks: Ranks) -> Finetuning:
    """Build the run in `folder` as its newest checkpoint left it, or a new one where there is none."""
    with lock_to_keep(folder, ranks) as lock:
        if from_first(has_checkpoint(folder)):
            return _resume(folder, config, ranks, lock)
        return Finetuning(config, ranks, folder, lock=lock)


def _resume(folder: Path, config: FinetuneConfig, ranks: Ranks, lock: RunLock | None) -> Finetuning:
    run = Finetuning(config, ranks, folder, lock=lock, state=load_newest(folder, ranks))
    if ranks.first:
        update_config(folder, config.as_dict())
        drop_metrics_after(folder, run.step)
    return run


def run_config(folder: Path) -> FinetuneConfig:
    """Return the settings that the run in `folder` was started with."""
    return FinetuneConfig.from_dict(read_config(folder))
