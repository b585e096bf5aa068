"""Check a dataset before training on it, or export its lists.

verify opens every video and decodes a window of it, side by side and with a time limit, and writes an index that
training then reads instead of the folder: broken videos are left out, and the start is quick. It can be stopped and
called again.
    python scripts/prepare_data.py verify --env TatsMask-ssv2-v0 --root /data/ssv2
list writes the `path label` lines that VideoMAE and its heirs read, and that TatsMask-list-v0 reads back.
    python scripts/prepare_data.py list --env TatsMask-ssv2-v0 --root /data/ssv2 --out train.csv
"""

import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tats_gym import ENV_IDS, TokenGrid
from tats_gym.agents.training.command_line import exit_code
from tats_gym.clips import list_videos
from tats_gym.clips.datasets.folder_and_list import write_list
from tats_gym.clips.datasets.layout import Split
from tats_gym.clips.prepare.verify import Verification, VerifyConfig
from tats_gym.clips.prepare.verify_report import Report
from tats_gym.clips.readers import Reader
from tats_gym.files.messages import did_you_mean
from tats_gym.runs.kinds import refuse_to_replace
from tats_gym.runs.progress import progress_bar


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which videos."""

    env: str
    """Id of the environment that will read them."""
    root: str | None = None
    """The dataset's folder; None looks below $TATS_GYM_DATA, then in the user's cache."""
    fold: int = 1
    """Which official division of UCF101 and HMDB51, 1 to 3."""
    subset: float | None = None
    """Only this share of every class, in (0, 1), or this number of clips of every class."""
    subset_seed: int = 0
    """Another one gives another subset."""

    def __post_init__(self) -> None:
        if self.env not in ENV_IDS:
            raise ValueError(
                f"--env must be one of {', '.join(ENV_IDS)}; got {self.env!r}{did_you_mean(self.env, ENV_IDS)}"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What the environment is made with."""
        return gymnasium.spec(self.env).kwargs

    @property
    def part(self) -> dict[str, Any]:
        """The arguments that both commands pass on."""
        names = ("root", "fold", "subset", "subset_seed")
        return {"data": self.settings["data"], **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Open every video, decode one window of each, and write the index and a report."""

    source: tyro.conf.OmitArgPrefixes[Source]
    split: tuple[Split, ...] = ("train", "validation")
    """Parts of the dataset."""
    index: str | None = None
    """File of the index, or an existing folder for several; by default the dataset's own folder."""
    frames: int | None = None
    """Frames of the window; by default the environment's."""
    stride: int | None = None
    """Frames from one of them to the next; by default the environment's."""
    reader: Reader = "auto"
    """Library that decodes: pyav, decord, torchcodec, or auto, which is pyav."""
    num_workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that decode; 0 decodes in this one, without limits. By default one for each core."""
    time_limit: float = 60.0
    """Seconds after which a video counts as broken."""
    memory_limit_mib: int = VerifyConfig.memory_limit_mib
    """Memory at which a process is replaced; a video that takes twice as much counts as broken."""

    def __post_init__(self) -> None:
        if not self.split:
            raise ValueError("--split must name at least one part, got none")
        if len(self.split) > 1 and self.index is not None and not Path(self.index).expanduser().is_dir():
            raise ValueError(f"--index must be an existing folder where --split names several parts, got {self.index}")

    def run(self) -> int:
        """Return 1 if a split has no usable video, else 0."""
        reports = [self.verify(split) for split in self.split]
        return int(not all(report.usable for report in reports))

    def verify(self, split: Split) -> Report:
        """Check one split and print what was found."""
        settings = self.source.settings
        config = VerifyConfig(
            **self.source.part,
            split=split,
            index=self.index,
            frames=settings.get("frames", TokenGrid.frames) if self.frames is None else self.frames,
            stride=settings["stride"] if self.stride is None else self.stride,
            reader=self.reader,
            num_workers=self.num_workers,
            time_limit_s=self.time_limit,
            memory_limit_mib=self.memory_limit_mib,
        )
        verification = Verification(config)
        if verification.resumed:
            print(f"{split}: going on after the {verification.resumed:,} videos of an earlier run")
        broken = 0
        with progress_bar(verification, desc=split, unit="video") as bar:
            for _, finding in bar:
                broken += finding.status == "broken"
                bar.set_postfix(broken=broken, refresh=False)
        report = verification.finish()
        print(*report.lines(), sep="\n")
        if not report.usable:
            print(f"error: no video of {split} is usable", file=sys.stderr)
        return report


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a split as a list of `path label` lines with absolute paths."""

    source: tyro.conf.OmitArgPrefixes[Source]
    out: Path
    """The list; TatsMask-list-v0 looks for train.csv, val.csv and test.csv in its folder."""
    split: Split = "train"
    """Part of the dataset."""
    index: str | None = None
    """Index that leaves out the broken videos; by default the one in the dataset's folder, none for none."""

    def run(self) -> int:
        """Write the list."""
        refuse_to_replace(self.out, "--out")
        videos = list_videos(**self.source.part, split=self.split, index=self.index)
        write_list(videos, self.out)
        print(f"{len(videos):,} videos of {len(videos.classes)} classes in {self.out}")
        return 0


Command = Annotated[Verify, tyro.conf.subcommand("verify")] | Annotated[Export, tyro.conf.subcommand("list")]


def main(arguments: list[str]) -> int:
    """Parse and run."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # file names need not be UTF-8
    return exit_code(lambda: _run(arguments), "the same command goes on from here")


def _run(arguments: list[str]) -> int:
    command: Verify | Export = tyro.cli(Command, args=arguments, prog="prepare_data.py", description=__doc__)
    return command.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
