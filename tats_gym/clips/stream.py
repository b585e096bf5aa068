"""An endless, shuffled, repeatable stream of clips, decoded here or in worker processes."""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tats_gym.clips.augment import (
    centre_crop_box,
    centre_start,
    crop_and_resize,
    multi_scale_crop_box,
    random_start,
    window_indices,
)
from tats_gym.clips.cache import VideoCache
from tats_gym.clips.layouts import Split
from tats_gym.clips.readers import READERS, Reader, VideoReadError
from tats_gym.clips.sources import VideoList, check_source, list_videos

logger = logging.getLogger(__name__)

Crop = Literal["multiscale", "centre"]

ATTEMPTS = 20
"""Videos that are tried for one clip before the stream gives up."""

ORDER, CLIP = 0, 1
"""Keep the random numbers of an epoch's order and of a clip apart."""


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Which clips a stream yields, and how they are read."""

    data: str = "demo"
    """Dataset: ssv2, k400, ucf101, hmdb51, folder or demo."""
    root: str | None = None
    """The dataset's folder; None looks below $TATS_GYM_DATA, then in the user's cache."""
    split: Split = "train"
    """Part of the dataset."""
    stride: int = 2
    """Frames from one frame of a clip to the next, at least 1; VideoMAE takes 2 on SSv2 and 4 on K400."""
    crop: Crop = "multiscale"
    """Where `take` cuts: MultiScaleCrop at random, or the largest square in the middle."""
    reader: Reader = "auto"
    """Library that decodes, see `open_video`."""
    num_workers: int = 0
    """Processes that decode ahead; 0 decodes in the calling process."""
    cache_mib: int = 0
    """Memory, in each process that decodes, for videos kept decoded from epoch to epoch, in MiB; 0 keeps none."""

    def __post_init__(self) -> None:
        check_source(self.data, self.split)
        if self.stride < 1:
            raise ValueError(f"stride must be at least 1, got {self.stride}")
        if self.crop not in get_args(Crop):
            raise ValueError(f"crop must be one of {get_args(Crop)}, got {self.crop!r}")
        if self.reader not in READERS:
            raise ValueError(f"reader must be one of {READERS}, got {self.reader!r}")
        for name in ("num_workers", "cache_mib"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class ClipBatch:
    """Clips and what is known of them."""

    pixels: Tensor
    """(B, C, T, H, W), uint8."""
    ids: Tensor
    """Positions in the list of videos (B,), int64."""
    labels: Tensor
    """Classes (B,), int64; -1 where unknown."""


class Key(NamedTuple):
    """All that decides a clip: its video, its window and its crop follow from these."""

    seed: int
    epoch: int
    id: int


class Sample(NamedTuple):
    """One clip as it comes from a worker."""

    pixels: Tensor | None
    """(C, T, H, W); None where every video that was tried is broken."""
    id: int
    broken: Sequence[tuple[str, str]] = ()
    """Path and cause of each video that was tried in vain."""


class _Clips(Dataset[Sample]):
    """The clip of each key: what a worker process holds."""

    def __init__(self, config: ClipConfig, videos: VideoList, frames: int, size: int) -> None:
        self.config, self.frames, self.size = config, frames, size
        self.cache = VideoCache(config.cache_mib, config.reader)
        # One block of bytes: workers share it, while they would copy objects as they count references.
        self.paths = np.array([os.fsencode(video.path) for video in videos.videos])

    def path(self, id_: int) -> str:
        return os.fsdecode(bytes(self.paths[id_]))

    def __getitem__(self, key: Key) -> Sample:
        broken: list[tuple[str, str]] = []
        id_ = key.id
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([CLIP, *key, attempt])
            if attempt:
                id_ = int(rng.integers(len(self.paths)))
            try:
                return Sample(self.view(id_, rng), id_, broken)
            except VideoReadError as err:
                broken.append((self.path(id_), str(err)))
        return Sample(None, id_, broken)  # an error raised here would keep the workers alive in its traceback

    def view(self, id_: int, rng: np.random.Generator | None) -> Tensor:
        """A view drawn with `rng`, or the centre view where it is None: (C, T, H, W)."""
        with closing(self.cache.open(Path(self.path(id_)))) as video:
            window = len(video), self.frames, self.config.stride
            start = centre_start(*window) if rng is None else random_start(*window, rng)
            frames = video.get_batch(window_indices(*window, start).tolist())  # (T, H, W, C)
        height, width = frames.shape[1:3]
        if rng is None or self.config.crop == "centre":
            box = centre_crop_box(height, width)
        else:
            box = multi_scale_crop_box(height, width, self.size, rng)
        return crop_and_resize(frames, box, self.size)


def _keys(seed: int, position: int, length: int) -> Iterator[Key]:
    """Keys from `position` on: every id once an epoch, each epoch in its own order, without end."""
    first = position % length
    for epoch in count_from(position // length):
        order = np.random.default_rng([ORDER, seed, epoch]).permutation(length)
        yield from (Key(seed, epoch, id_) for id_ in order[first:].tolist())
        first = 0


def _leave_signals_to_the_parent(_: int) -> None:
    """Let a worker outlive the signals that terminals and schedulers send to every process of a job.

    The parent decides what they mean, and ends its workers when it is done; they also end when it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class ClipStream:
    """Clips of a dataset, shuffled anew each epoch, without end.

    The clip at a position follows from the seed alone: neither the number of workers, nor the sizes of the
    batches, nor what was taken before has a part in it. A video that cannot be read is logged, counted in
    `broken`, and another one takes its place.

    Args:
        config: Which clips.
        frames: Frames in a clip, T.
        size: Height and width of a clip in pixels.
        seed: Source of the order, the windows and the crops; not negative.
        pin_memory: Hand out batches in page-locked memory, for copies to a GPU that overlap with its work.

    Raises:
        MissingDataError: The dataset is not on the disk.
    """

    def __init__(self, config: ClipConfig, *, frames: int, size: int, seed: int, pin_memory: bool = False) -> None:
        if frames < 1 or size < 1:
            raise ValueError(f"frames and size must be at least 1, got {frames} and {size}")
        self.config = config
        self.videos = list_videos(config.data, config.root, config.split)
        self.position = 0
        """Clips taken since the start; the epoch is `position // len(stream)`."""
        self.wait_s = 0.0
        """Seconds that `take` waited for clips, in total."""
        self.broken: Counter[str] = Counter()
        """Path of each video that could not be read to the number of times."""
        self._clips = _Clips(config, self.videos, frames, size)
        self._labels = torch.tensor([-1 if v.label is None else v.label for v in self.videos.videos])
        self._shape = (3, frames, size, size)
        self._pin_memory = pin_memory
        self._samples: Iterator[Sample] | None = None
        self.seed = seed
        self.seek(0)

    def __len__(self) -> int:
        """Videos in the dataset, which is also clips in an epoch."""
        return len(self.videos)

    def take(self, count: int) -> ClipBatch:
        """The next `count` clips.

        Raises:
            VideoReadError: Too many videos in a row could not be read.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        try:
            batch = self._gather((self._next() for _ in range(count)), count)
        except BaseException:
            self.close()  # what was decoded ahead is lost; the next call goes on from `position`
            raise
        self.position += count
        return batch

    def centre(self, ids: Sequence[int]) -> ClipBatch:
        """The clips `ids` in their centre view: the window and the square in the middle, decoded here.

        Raises:
            IndexError: An id is not in the dataset.
            VideoReadError: A video cannot be read.
        """
        for id_ in ids:
            if not 0 <= id_ < len(self):
                raise IndexError(f"ids must lie in [0, {len(self)}), got {id_}")
        return self._gather(((self._clips.view(id_, None), id_) for id_ in ids), len(ids))

    def seek(self, position: int, seed: int | None = None) -> None:
        """Go on from `position` as a stream that came there by `take` would; `seed` gives a new order."""
        seed = self.seed if seed is None else seed
        if position < 0 or seed < 0:
            raise ValueError(f"position and seed must not be negative, got {position} and {seed}")
        self.close()
        self.position, self.seed = position, seed

    def close(self) -> None:
        """End the worker processes; a later `take` starts them again."""
        self._samples = None

    def _gather(self, views: Iterator[tuple[Tensor, int]], count: int) -> ClipBatch:
        pixels = torch.empty((count, *self._shape), dtype=torch.uint8, pin_memory=self._pin_memory)
        ids = torch.empty(count, dtype=torch.int64)
        for row, (view, id_) in enumerate(views):
            pixels[row], ids[row] = view, id_
        return ClipBatch(pixels, ids, self._labels[ids])

    def _next(self) -> tuple[Tensor, int]:
        start = time.perf_counter()
        if self._samples is None:
            self._samples = self._start()
        sample = next(self._samples)
        self.wait_s += time.perf_counter() - start
        for path, cause in sample.broken:
            if path not in self.broken:
                logger.warning("%s; another video takes its place", cause)
            self.broken[path] += 1
        if sample.pixels is None:
            raise VideoReadError(f"{ATTEMPTS} videos in a row could not be read; the last: {sample.broken[-1][1]}")
        return sample.pixels, sample.id

    def _start(self) -> Iterator[Sample]:
        loader = DataLoader(
            self._clips,
            sampler=_keys(self.seed, self.position, len(self)),
            batch_size=None,
            num_workers=self.config.num_workers,
            worker_init_fn=_leave_signals_to_the_parent,
            generator=torch.Generator(),  # else each start would draw from torch's global generator
        )
        return iter(loader)
