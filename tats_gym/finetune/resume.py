"""Fine-tunings that go on, see `tats_gym.runs.resume`."""

from pathlib import Path

from tats_gym.finetune.config import FinetuneConfig
from tats_gym.finetune.training import Finetuning
from tats_gym.runs.folder import read_config
from tats_gym.runs.kinds import FINETUNING
from tats_gym.runs.resume import begin_or_go_on, go_on
from tats_gym.train.distributed import Ranks


def resume(folder: Path, config: FinetuneConfig | None = None, ranks: Ranks | None = None) -> Finetuning:
    """Build the run in `folder` as its newest checkpoint left it, with other settings where `config` is given."""
    config = config or run_config(folder)
    return go_on(Finetuning, folder, config, ranks or Ranks.alone(config.device))


def begin_or_resume(folder: Path | None, config: FinetuneConfig, ranks: Ranks) -> Finetuning:
    """Build the run in `folder` as its newest checkpoint left it, or a new one where there is none."""
    return begin_or_go_on(Finetuning, folder, config, ranks)


def run_config(folder: Path) -> FinetuneConfig:
    """Return the settings that the run in `folder` was started with."""
    return FinetuneConfig.from_dict(read_config(folder, FINETUNING))
