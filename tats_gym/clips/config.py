"""The settings of the data: the clips that a stream yields, and how they are read."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from tats_gym.clips.augment import Sampling
from tats_gym.clips.datasets.listing import check_source
from tats_gym.clips.readers import READERS, Reader
from tats_gym.datasets import DATASETS, Dataset, Split
from tats_gym.files.atomic import make_paths_absolute
from tats_gym.files.config_io import check_numbers

Crop = Literal["multiscale", "random_resized", "centre"]

LOWEST = {"stride": 1, "repeats": 1, "memory_limit_mib": 1, "num_workers": 0, "cache_mib": 0, "cache_windows": 0}

RANDAUG = re.compile(r"rand(-(m|n|p|mstd|mmax|inc)\d+(\.\d+)?|-t[a-z0-9]+)*")
"""The policies that timm reads."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """The clips that a stream yields, and how they are read."""

    data: str = "demo"
    """Name of the dataset, as in the id TatsMask-NAME-v0: one of `tats_gym.datasets`."""
    root: str | None = None
    """The dataset's folder, kept as an absolute path, as are all paths here; None looks below $TATS_GYM_DATA, then in
    the user's cache."""
    split: Split = "train"
    """Part of the dataset."""
    fold: int = 1
    """One of the three official divisions of UCF101 and HMDB51."""
    subset: float | None = None
    """Only this share of every class, in (0, 1), or this many clips of every class; None takes all."""
    subset_seed: int = 0
    """Each seed gives another subset."""
    index: str | None = None
    """Index that scripts/prepare_data.py wrote: a file, "none", or None for the one in the dataset's folder, if any."""
    stride: int = Dataset.stride
    """Frames from one frame of a clip to the next, at least 1; VideoMAE takes 2 on SSv2 and 4 on K400."""
    sampling: Sampling = "stride"
    """stride: a window of frames `stride` apart, from a random start. segments: one frame from a random place in each
    of T equal parts of the whole video, which VideoMAE takes to fine-tune on SSv2; `stride` has no part in it.
    VideoMAE's parts are of N // T frames, so that the last frames are never seen, and of a video with fewer than T
    frames only the first is; here the parts cover the video, and in a short one frames repeat."""
    crop: Crop = "multiscale"
    """Square that is cut: MultiScaleCrop, a random resized crop (supplement 2.1), or the largest one in the middle."""
    crop_scale: float = 0.5
    """Least share of the frame's area that a random resized crop takes, in (0, 1]: 0.5 in the supplement (2.1), 0.08
    where VideoMAE fine-tunes; it may take all of it."""
    flip: bool = False
    """Mirror every other clip; refused for datasets with classes that differ in left and right alone."""
    randaug: str | None = None
    """RandAugment of the whole frames before the crop, in timm's notation, alike in all frames of a clip; None is none.
    Table 4 (9, 0.5) is "rand-m9-n2-mstd0.5-inc1", where n and inc are open; VideoMAE's is "rand-m7-n4-mstd0.5-inc1"."""
    erase: float = 0.0
    """Probability that a box of the clip, the same in all frames, is replaced by noise, in [0, 1]; VideoMAE takes 0.25
    to fine-tune, table 4 does not name it."""
    reader: Reader = "auto"
    """Library that decodes, see `open_video`."""
    repeats: int = 1
    """Views that are cropped from one decoded window, each a clip of the epoch (MAE-ST's repeated sampling)."""
    num_workers: int = 0
    """Processes that decode ahead; 0 decodes in the calling process, without a time limit."""
    time_limit_s: float = 60.0
    """Seconds after which a worker that decodes is killed, and another video takes the place of the one it read."""
    memory_limit_mib: int = 2048
    """Memory beyond `cache_mib` at which a worker is replaced by a fresh one: decoders leak. A video that takes
    twice as much counts as one that cannot be read."""
    max_broken: float = 0.1
    """Share of the clips whose video could not be read above which the stream stops, in [0, 1]."""
    cache_mib: int = 0
    """Memory, in each process that decodes, for videos kept decoded from epoch to epoch, in MiB; 0 keeps none."""
    cache_windows: int = 0
    """Windows of each video that are kept decoded on the disk, for sets that do not fit into memory: every epoch takes
    one of them, and only the crops are new. 0 keeps none, and cuts a new window each time. A window of 16 frames of
    320x240 takes 3.5 MiB."""
    cache_dir: str | None = None
    """Folder of these windows, best on a local disk; None: `windows` beside the datasets, see `root`."""

    def __post_init__(self) -> None:
        make_paths_absolute(self, "root", "cache_dir", *([] if self.index == "none" else ["index"]))
        check_numbers(self)
        check_source(self.data, self.split, fold=self.fold, subset=self.subset, subset_seed=self.subset_seed)
        if self.flip and DATASETS[self.data].flip_keeps_class is False:
            raise ValueError(f"flip must be off for {self.data}: its classes know left and right")
        for name, choices in (("sampling", get_args(Sampling)), ("crop", get_args(Crop)), ("reader", READERS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")
        for name, lowest in LOWEST.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        for name, holds, rule in (
            ("time_limit_s", self.time_limit_s > 0, "be above 0"),
            ("crop_scale", 0 < self.crop_scale <= 1, "lie in (0, 1]"),
            ("erase", 0 <= self.erase <= 1, "lie in [0, 1]"),
            ("max_broken", 0 <= self.max_broken <= 1, "lie in [0, 1]"),
            ("randaug", RANDAUG.fullmatch(self.randaug or "rand"), "read like 'rand-m9-n2-mstd0.5-inc1'"),
        ):
            if not holds:
                raise ValueError(f"{name} must {rule}, got {getattr(self, name)!r}")

    @property
    def held_out(self) -> "ClipConfig":
        """The settings of the held-out clips: all of them, unaltered, and by an index of their own if there is one."""
        one_file = self.index is not None and self.index != "none" and not Path(self.index).is_dir()
        index = None if one_file else self.index
        return replace(self, split="validation", subset=None, index=index, randaug=None, erase=0.0, repeats=1)
