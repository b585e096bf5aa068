"""Record play in any Gymnasium environment as videos to train on: python scripts/record_env.py --env ID --out FOLDER.

Each environment is a class. An environment draws by render_mode="rgb_array" or observes pixels. Videos of Atari games
(--env ALE/Pong-v5, pip install 'tats-gym[atari]') have the console's memory beside them. The folder is written whole or
not at all. Then: train_ppo.py --env TatsMask-list-v0 --preset folder --stride 1 --root FOLDER
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.recording import make_recording


@dataclass(frozen=True, kw_only=True)
class ScriptConfig:
    """The recording, and its folder."""

    record: tyro.conf.OmitArgPrefixes[RecordConfig]
    out: Path
    """Folder of the videos: a new or an empty one, or the same recording."""


def main(arguments: list[str]) -> int:
    """Parse, record, and print the counts."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(lambda: _record(arguments), "nothing is left behind; the same command begins anew")


def _record(arguments: list[str]) -> None:
    config = tyro.cli(ScriptConfig, args=arguments, prog="record_env.py", description=__doc__)
    make_recording(config.out, config.record)
    counts, frames = config.record.counts, config.record.frames
    print(f"{counts['train']} training and {counts['validation']} validation videos of {frames} frames in {config.out}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
