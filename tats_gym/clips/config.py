"""The settings of the data: the clips that a stream yields, and how they are read."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tats_gym.clips.augment import Sampling
from tats_gym.clips.datasets.layout import FIRST_PART
from tats_gym.clips.datasets.listing import check_source
from tats_gym.clips.readers import Reader
from tats_gym.datasets import DATASETS, Dataset, Split
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.settings.paths import make_paths_absolute

Crop = Literal["multiscale", "random_resized", "centre"]
PixelAspect = Literal["ignore", "apply"]

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
    split: Split = FIRST_PART.split
    """Part of the dataset."""
    fold: int = FIRST_PART.fold
    """One of the three official divisions of UCF101 and HMDB51."""
    subset: float | None = None
    """Only this share of every class, in (0, 1), or this many clips of every class; None takes all."""
    subset_seed: int = 0
    """Each seed gives another subset."""
    index: str | None = None
    """Index written by tats-gym prepare: its file or folder, or "none" to read none; None takes the one in the
    dataset's folder, if any."""
    stride: int = Dataset.stride
    """Frames from one frame of a clip to the next, at least 1; VideoMAE takes 2 on SSv2 and 4 on K400."""
    sampling: Sampling = "stride"
    """stride: a window of frames `stride` apart, from a random start. segments: one frame from a random place in each
    of T equal parts of the whole video, as VideoMAE fine-tunes on SSv2; `stride` is not used. VideoMAE's parts have
    N // T frames, so that it never sees the last frames of a video, and only the first of one with fewer than T frames;
    here the parts cover the video, and in a short one frames repeat."""
    crop: Crop = "multiscale"
    """Part of the frame to cut out: VideoMAE's MultiScaleCrop, a random resized crop (supplement 2.1), or the largest
    square in the middle."""
    crop_scale: float = 0.5
    """Smallest share of the frame's area that a random resized crop takes, in (0, 1]; the largest is 1. The supplement
    (2.1) takes 0.5, VideoMAE 0.08 to fine-tune."""
    antialias: bool = True
    """Weigh all pixels below a new one when a crop is made smaller, as Pillow does, with which VideoMAE and AdaMAE
    pre-train. Off, bilinear weights of the nearest four, as VideoMAE fine-tunes and tests; `published_views` follow
    its test in every other respect."""
    pixel_aspect: PixelAspect = "ignore"
    """Pixels that a file says are not square, such as those of DV: ignore takes them as square, as do the readers of
    VideoMAE and AdaMAE, and so the published numbers. apply chooses crops in the displayed picture, and resizes the
    stored pixels once; RandAugment turns and shears frames as they are stored."""
    published_views: bool = False
    """Cut test views as the published VideoMAE's test does, to score its weights: windows of frames 0, `stride`, 2 *
    `stride`, ..., and squares of frames that are resized first, bilinearly without antialiasing."""
    flip: bool = False
    """Mirror each clip with probability 0.5; refused for datasets whose classes tell left from right."""
    randaug: str | None = None
    """RandAugment of whole frames before the crop, alike in all frames of a clip, in timm's notation; None for none.
    Table 4's (9, 0.5) is "rand-m9-n2-mstd0.5-inc1", of which it leaves n and inc open; VideoMAE's is
    "rand-m7-n4-mstd0.5-inc1"."""
    erase: float = 0.0
    """Probability that one box of the clip, the same in all frames, is filled with noise, in [0, 1]; VideoMAE takes
    0.25 to fine-tune, Table 4 names none."""
    reader: Reader = "auto"
    """Library that decodes, see `open_video`."""
    repeats: int = 1
    """Views cropped from one decoded window, each a clip of the epoch (MAE-ST's repeated sampling)."""
    num_workers: int = 0
    """Processes that decode ahead; 0 decodes in the calling process, without a time limit."""
    time_limit_s: float = 60.0
    """Seconds after which a worker is killed while it reads a video, and another video takes that one's place."""
    memory_limit_mib: int = 2048
    """Memory in MiB, beyond `cache_mib`, above which a worker is replaced, as decoders leak. A video that takes twice
    as much counts as unreadable."""
    max_broken: float = 0.1
    """Largest share of clips whose video is unreadable, in [0, 1]; above it the stream stops."""
    cache_mib: int = 0
    """Memory in MiB, in each decoding process, for decoded videos that are kept from epoch to epoch; 0 keeps none."""
    cache_windows: int = 0
    """Decoded windows of each video that are kept on the disk, for datasets that do not fit into memory: every epoch
    takes one of them, and only the crops are new. 0 keeps none, and decodes a new window each time. A window of 16
    frames of 320x240 takes 3.5 MiB."""
    cache_dir: str | None = None
    """Folder of these windows, best on a local disk; None takes `windows` beside the datasets, see `root`."""

    def __post_init__(self) -> None:
        make_paths_absolute(self, "root", "cache_dir", *([] if self.index == "none" else ["index"]))
        check_plain(self)
        check_source(self.data, self.split, fold=self.fold, subset=self.subset, subset_seed=self.subset_seed)
        if self.flip and DATASETS[self.data].flip_keeps_class is False:
            raise ValueError(f"flip must be off for {self.data}: its classes know left and right")
        if self.reader != "auto" and DATASETS[self.data].video_reader is not None:
            raise ValueError(f"reader must be 'auto' for {self.data}, which has its own, got {self.reader!r}")
        if self.pixel_aspect != "ignore" and DATASETS[self.data].video_reader is not None:
            raise ValueError(f"pixel_aspect must be 'ignore' for {self.data}, whose own reader gives square pixels")
        if self.published_views and self.pixel_aspect != "ignore":
            raise ValueError(
                f"published_views takes pixels as square: pixel_aspect must be 'ignore', got {self.pixel_aspect!r}"
            )
        check_intervals(self, stride="[1, inf)", repeats="[1, inf)", memory_limit_mib="[1, inf)")
        check_intervals(self, num_workers="[0, inf)", cache_mib="[0, inf)", cache_windows="[0, inf)")
        check_intervals(self, time_limit_s="(0, inf)", crop_scale="(0, 1]", erase="[0, 1]", max_broken="[0, 1]")
        if not RANDAUG.fullmatch(self.randaug or "rand"):
            raise ValueError(f"randaug must read like 'rand-m9-n2-mstd0.5-inc1', got {self.randaug!r}")

    @property
    def opens_with(self) -> str:
        """The reader for `open_video`: the dataset's own, or `reader`."""
        return DATASETS[self.data].video_reader or self.reader

    @property
    def held_out(self) -> "ClipConfig":
        """The settings of the held-out clips: all of them, unaltered, and by an index of their own if there is one."""
        one_file = self.index is not None and self.index != "none" and not Path(self.index).is_dir()
        index = None if one_file else self.index
        return replace(self, split="validation", subset=None, index=index, randaug=None, erase=0.0, repeats=1)
