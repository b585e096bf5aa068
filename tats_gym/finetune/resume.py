"""Resumes fine-tunings, see `tats_gym.runs.resume`."""

from pathlib import Path

from tats_gym.finetune.config import FinetuneConfig
from tats_gym.finetune.run import Finetuning
from tats_gym.runs.folder import read_config
from tats_gym.runs.kinds import FINETUNING
from tats_gym.runs.resume import begin_or_resume_run, resume_run
from tats_gym.train.distributed import Ranks


def resume(folder: Path, config: FinetuneConfig | None = None, ranks: Ranks | None = None) -> Finetuning:
    """Resume the run in `folder` from its newest checkpoint, with its own settings or with `config`."""
    config = config or run_config(folder)
    return resume_run(Finetuning, folder, config, ranks or Ranks.alone(config.device))


def begin_or_resume(folder: Path | None, config: FinetuneConfig, ranks: Ranks) -> Finetuning:
    """Resume the run in `folder` from its newest checkpoint, or begin a new run where there is none."""
    return begin_or_resume_run(Finetuning, folder, config, ranks)


def run_config(folder: Path) -> FinetuneConfig:
    """Return the settings of the run in `folder`."""
    return FinetuneConfig.from_dict(read_config(folder, FINETUNING))
