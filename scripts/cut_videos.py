"""Cut long videos into short ones, for training on them: python scripts/cut_videos.py ~/films --out ~/clips.

Each video becomes OUT/<name>-0000.webm, OUT/<name>-0001.webm and so on, without sound. Segments that are there are
kept, so that a run that was stopped goes on where it was. Then: train_ppo.py --env TatsMask-folder-v0 --root OUT
"""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips.prepare.segments import CutConfig, Segments, claim_folder, find_videos
from tats_gym.clips.readers import VideoReadError
from tats_gym.runs.progress import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScriptConfig:
    """What to cut, how, and where the segments go."""

    paths: tyro.conf.Positional[tuple[Path, ...]]
    """Videos, or folders with videos anywhere below them."""
    out: Path
    """Folder of the segments; it must not lie inside a folder that is cut."""
    cut: tyro.conf.OmitArgPrefixes[CutConfig] = field(default_factory=CutConfig)


@dataclass
class Totals:
    """What the folder of segments holds of the videos that were given."""

    videos: int = 0
    """Videos with a segment or more."""
    new: int = 0
    """Segments that this run wrote."""
    segments: int = 0
    """Segments in all."""
    seconds: float = 0.0
    """How long the segments play, one after the other."""


def cut_all(config: ScriptConfig) -> Totals:
    """Cut every video; one that is too short or does not decode is logged, and what was cut from it until then stays.

    Raises:
        FileNotFoundError: There is no video.
        ValueError: `out` does not fit the videos, or what it holds already.
    """
    totals = Totals()
    videos = find_videos(config.paths, config.out)
    claim_folder(config.out, config.cut)
    for number, video in enumerate(videos, start=1):
        try:
            cut_one(video, f"{number}/{len(videos)} {video.name}", config, totals)
        except VideoReadError as err:
            logger.warning("%s", err)
    return totals


def cut_one(video: Path, title: str, config: ScriptConfig, totals: Totals) -> None:
    """Cut one video and add it to the totals."""
    segments = Segments(video, config.out, config.cut)
    if not segments.paths:
        logger.warning("%s: skipped, a segment has %d frames, it has %d", video, config.cut.frames, segments.length)
    try:
        for _ in progress_bar(segments, desc=title, unit="segment", leave=False):
            totals.new += 1
    finally:
        there = sum(path.exists() for path in segments.paths)
        totals.videos += there > 0
        totals.segments += there
        totals.seconds += float(there * config.cut.frames / segments.fps)


def main(arguments: list[str]) -> int:
    """Parse, cut and sum up."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    return exit_code(lambda: _cut(arguments), "the same command goes on from here")


def _cut(arguments: list[str]) -> None:
    config = tyro.cli(ScriptConfig, args=arguments, prog="cut_videos.py", description=__doc__)
    totals = cut_all(config)
    if not totals.segments:
        raise ValueError(f"no video gave a segment of {config.cut.frames} frames")
    print(
        f"{totals.videos} videos, {totals.segments} segments ({totals.new} new), "
        f"{totals.segments * config.cut.frames} frames, {totals.seconds:.1f} s in {config.out}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
