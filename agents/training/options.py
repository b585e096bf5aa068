"""The command line of a training: from its words to the run's settings, and to the run that goes on or begins."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import tyro

from tats_gym.agents import check_asked_for, find_agent
from tats_gym.agents.config import PRESETS, PretrainConfig, config_from_dict, preset_for
from tats_gym.runs.folder import read_config
from tats_gym.runs.kinds import PRETRAINING

PRESET_HELP = f"--preset NAME   preset to start from, by default the id's own: {', '.join(PRESETS)}"
"""The line on `--preset` in the help of every command that takes it."""

DESCRIPTION = f"""Train a token sampler and a masked autoencoder together.

On several GPUs: torchrun --nproc_per_node=8 scripts/train_ppo.py ...

{PRESET_HELP}
--resume RUN    go on with the run in this folder, from its newest checkpoint
--folder DIR    the run's own folder: a run that is in it goes on, so that the same command can be given again"""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `train_ppo.py`."""

    config: PretrainConfig
    """The run's settings."""
    resume: Path | None = None
    """Folder of the run that goes on, from its newest checkpoint."""
    folder: Path | None = None
    """The run's own folder, whether there is a run in it or not; None makes a new one below `config.out`."""

    @classmethod
    def parse(cls, arguments: list[str]) -> Self:
        """Read the options from a command's words.

        Raises:
            ValueError: If options exclude each other, or there is no such environment, preset or agent.
            SystemExit: If the user asked for help, or an option is unknown or malformed, which is then printed.
        """
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--env")
        first.add_argument("--preset")
        first.add_argument("--resume", type=Path)
        first.add_argument("--folder", type=Path)
        chosen, rest = first.parse_known_args(arguments)
        if chosen.resume and (chosen.env or chosen.preset or chosen.folder):
            raise ValueError("--resume goes on with the run's own --env, --preset and --folder; leave these out")
        if chosen.resume:
            config = _settings(rest, run_config(chosen.resume))
            check_asked_for(config.agent, [word.removeprefix("--agent=") for word in rest])
        else:
            config = _settings(rest, preset_for(chosen.env or "TatsMask-demo-v0", chosen.preset))
        find_agent(config.agent)  # a mistyped name is answered before the imports of a training, which take seconds
        return cls(config, chosen.resume, chosen.folder)


def parse_env(arguments: list[str]) -> tuple[str, str | None, list[str]]:
    """Split a command's words into `--env`, `--preset`, and the words for the settings that start from these two."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--env", default="TatsMask-demo-v0")
    parser.add_argument("--preset")
    chosen, rest = parser.parse_known_args(arguments)
    return chosen.env, chosen.preset, rest


def run_config(folder: Path) -> PretrainConfig:
    """Return the settings that the run in `folder` was started with."""
    return config_from_dict(read_config(folder, PRETRAINING))


def _settings(words: list[str], default: PretrainConfig) -> PretrainConfig:
    return tyro.cli(PretrainConfig, args=words, default=default, prog="train_ppo.py", description=DESCRIPTION)
