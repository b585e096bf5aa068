"""Settings of the commands that verify a dataset and write its lists."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import tyro

from tats_gym.clips.datasets.folder_and_list import write_list
from tats_gym.clips.datasets.listing import VideoList, list_videos
from tats_gym.clips.prepare.verify import VerifyConfig
from tats_gym.clips.readers import Reader
from tats_gym.datasets import TRAIN_VALIDATION, Split
from tats_gym.registration import check_env_id
from tats_gym.runs.kinds import refuse_to_replace


@dataclass(frozen=True, kw_only=True)
class Source:
    """The dataset, and the part of it."""

    env: str
    """Id of the environment that will read them."""
    root: str | None = VerifyConfig.root
    """The dataset's folder; None looks below $TATS_GYM_DATA, then in the user's cache."""
    fold: int = VerifyConfig.fold
    """One of the three official divisions of UCF101 and HMDB51."""
    subset: float | None = VerifyConfig.subset
    """Only this share of every class, in (0, 1), or this number of clips of every class; None takes all."""
    subset_seed: int = VerifyConfig.subset_seed
    """Each seed gives another subset."""

    def __post_init__(self) -> None:
        check_env_id("--env", self.env)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the environment that the id names."""
        return gymnasium.spec(self.env).kwargs

    @property
    def part(self) -> dict[str, Any]:
        """The arguments of `VerifyConfig` and of `list_videos` alike."""
        names = ("root", "fold", "subset", "subset_seed")
        return {"data": self.settings["data"], **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Open every video, decode one window of each, and write the index and a report."""

    source: tyro.conf.OmitArgPrefixes[Source]
    split: tuple[Split, ...] = TRAIN_VALIDATION
    """Parts of the dataset."""
    index: str | None = VerifyConfig.index
    """File of the index, or an existing folder for several; by default the dataset's own folder."""
    frames: int | None = None
    """Frames of the window; by default the environment's."""
    stride: int | None = None
    """Frames of the video from one frame of the window to the next; by default the environment's."""
    reader: Reader = VerifyConfig.reader
    """Library that decodes: pyav, decord, torchcodec, or auto, which is pyav."""
    num_workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes that decode; 0 decodes in this one, without limits. By default one for each core."""
    time_limit_s: float = VerifyConfig.time_limit_s
    """Seconds after which a video counts as broken."""
    memory_limit_mib: int = VerifyConfig.memory_limit_mib
    """Memory in MiB above which a process is replaced; a video that takes twice as much counts as broken."""

    def __post_init__(self) -> None:
        if not self.split:
            raise ValueError("--split must name at least one part, got none")
        if len(self.split) > 1 and self.index is not None and not Path(self.index).expanduser().is_dir():
            raise ValueError(f"--index must be an existing folder where --split names several parts, got {self.index}")

    def config(self, split: Split) -> VerifyConfig:
        """Return the settings of the check of one part."""
        settings = self.source.settings
        return VerifyConfig(
            **self.source.part,
            split=split,
            index=self.index,
            frames=settings.get("frames", VerifyConfig.frames) if self.frames is None else self.frames,
            stride=settings["stride"] if self.stride is None else self.stride,
            reader=self.reader,
            num_workers=self.num_workers,
            time_limit_s=self.time_limit_s,
            memory_limit_mib=self.memory_limit_mib,
        )


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a split as a list of `path label` lines with absolute paths."""

    source: tyro.conf.OmitArgPrefixes[Source]
    out: Path
    """File of the list; TatsMask-list-v0 reads train.csv, val.csv and test.csv of a folder."""
    split: Split = VerifyConfig.split
    """Part of the dataset."""
    index: str | None = None
    """Index, whose broken videos are left out; by default the one in the dataset's folder, "none" to read none."""

    def write(self) -> VideoList:
        """Write the list, and return the videos in it.

        Raises:
            ValueError: If `out` exists and is not a list.
        """
        refuse_to_replace(self.out, "--out")
        videos = list_videos(**self.source.part, split=self.split, index=self.index)
        write_list(videos, self.out)
        return videos
