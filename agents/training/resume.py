"""Resumes pre-training runs, see `tats_gym.runs.resume`."""

from pathlib import Path

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.training.command_line import run_config
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.runs.resume import begin_or_resume_run, resume_run
from tats_gym.train.distributed import Ranks


def resume(folder: Path, config: PretrainConfig | None = None, ranks: Ranks | None = None) -> Pretraining:
    """Build the run in `folder` from its newest checkpoint, with other settings if `config` is given."""
    config = config or run_config(folder)
    return resume_run(Pretraining, folder, config, ranks or Ranks.alone(config.device))


def begin_or_resume(folder: Path | None, config: PretrainConfig, ranks: Ranks) -> Pretraining:
    """Build the run in `folder` from its newest checkpoint, or a new run if there is none."""
    return begin_or_resume_run(Pretraining, folder, config, ranks)
