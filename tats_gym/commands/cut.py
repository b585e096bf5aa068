"""Cut long videos into short ones to train on: tats-gym cut ~/films --out ~/clips.

Each video becomes OUT/<name>-0000.webm, OUT/<name>-0001.webm and so on, without sound. Existing segments are kept, so
that the same command continues after a stop. Then: tats-gym train --env TatsMask-folder-v0 --root OUT
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro

from tats_gym.clips.prepare.segments import CutConfig, cut_all
from tats_gym.commands.line.exit_codes import exit_code
from tats_gym.commands.line.parsing import CommandLine, show_log


@dataclass(frozen=True, kw_only=True)
class CutCommand:
    """The videos, the cut, and the folder of the segments."""

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Videos, or folders with videos anywhere below them."""
    out: Path
    """Folder of the segments; must not lie within PATHS."""
    cut: tyro.conf.OmitArgPrefixes[CutConfig] = field(default_factory=CutConfig)


def main(words: list[str], program: str = "tats-gym cut") -> int:
    """Parse, cut, and print the counts."""
    show_log(words)
    return exit_code(lambda: _cut(words, program), "the same command goes on from here")


def _cut(words: list[str], program: str) -> None:
    config = CommandLine(words, program, __doc__).settings(CutCommand)
    totals = cut_all(config.paths, config.out, config.cut)
    print(
        f"{totals.videos} videos, {totals.segments} segments ({totals.new} new), "
        f"{totals.segments * config.cut.frames} frames, {totals.seconds:.1f} s in {config.out}"
    )
