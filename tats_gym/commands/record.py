"""Record play in any Gymnasium environment as videos to train on: tats-gym record --env ID --out FOLDER.

Each environment is a class. An environment draws by render_mode="rgb_array" or observes pixels. Videos of Atari games
(--env ALE/Pong-v5, pip install 'tats-gym[atari]') have the console's memory beside them. The folder is written whole or
not at all. Then: tats-gym train --env TatsMask-list-v0 --preset folder --stride 1 --root FOLDER
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.recording import make_recording
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log


@dataclass(frozen=True, kw_only=True)
class RecordCommand:
    """The recording, and its folder."""

    record: tyro.conf.OmitArgPrefixes[RecordConfig]
    out: Path
    """Folder of the videos: a new or an empty one, or the same recording."""


def main(words: list[str], program: str = "tats-gym record") -> int:
    """Parse, record, and print the counts."""
    show_log(words)
    return exit_code(lambda: _record(words, program), "nothing is left behind; the same command begins anew")


def _record(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(RecordCommand)
    make_recording(config.out, config.record)
    counts, frames = config.record.counts, config.record.frames
    print(f"{counts['train']} training and {counts['validation']} validation videos of {frames} frames in {config.out}")
