"""Decodes clips: from a draw to its video, its window of frames and its crops."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.clips.augment import (
    Box,
    Sampling,
    centre_crop_box,
    crop_and_resize,
    displayed_width,
    multi_scale_crop_box,
    random_resized_crop_box,
    random_window,
    stored_box,
    view_boxes,
    view_windows,
    window_at,
)
from tats_gym.clips.caches.video_cache import VideoCache
from tats_gym.clips.caches.window_cache import WindowCache
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.datasets.listing import Video
from tats_gym.clips.distortions import DistortionError, RandAugment, distorting, erase
from tats_gym.clips.paths import data_root
from tats_gym.clips.published_views import published_squares, published_windows
from tats_gym.clips.readers import VideoReader, VideoReadError, pixel_aspect_of
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import CHANNELS

ORDER_SEED, CLIP_SEED = 0, 1
"""First entries of the random seeds, which separate the numbers of an epoch's order from those of a clip."""


class Draw(NamedTuple):
    """The seed of one clip: video, window and crops follow from it."""

    seed: int
    """Seed of the stream."""
    epoch: int
    """Epoch, from 0."""
    id: int
    """The video at this place of the epoch's order; another one replaces it if it cannot be read."""


@dataclass(frozen=True)
class Views:
    """The number of test views of a video."""

    temporal: int
    """Windows of frames, see `view_windows`."""
    spatial: int
    """Squares of each window, see `view_boxes`."""

    def __post_init__(self) -> None:
        check_intervals(self, temporal="[1, inf)", spatial="[1, inf)")

    @property
    def count(self) -> int:
        """Views of a video, R."""
        return self.temporal * self.spatial


class EpochOrder:
    """The endless order of the videos: each video once per epoch, every epoch shuffled anew.

    Args:
        seed: Source of the orders.
        length: Number of videos.
        shard: (rank, ranks); a rank takes every `ranks`-th video. Where `ranks` does not divide `length`, the epoch's
            first videos fill up the last ranks.
    """

    def __init__(self, seed: int, length: int, shard: tuple[int, int] = (0, 1)) -> None:
        self.seed, self._length, self._shard = seed, length, shard
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        """Return the number of videos that this rank takes per epoch."""
        return -(-self._length // self._shard[1])

    def __getitem__(self, number: int) -> Draw:
        """Return the draw at this place, counted from the start of the training."""
        epoch, place = divmod(number, len(self))
        return Draw(self.seed, epoch, int(self._of(epoch)[place]))

    def videos(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the videos (n,) of the draws at these places (n,), all at once."""
        epochs, places = np.divmod(numbers, len(self))
        ids = np.empty_like(numbers)
        for epoch in np.unique(epochs):
            within = epochs == epoch
            ids[within] = self._of(int(epoch))[places[within]]
        return ids

    def _of(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            order = np.random.default_rng([ORDER_SEED, self.seed, epoch]).permutation(self._length)
            rank, ranks = self._shard
            self._epoch, self._order = epoch, np.resize(order, len(self) * ranks)[rank::ranks]
        return self._order


class ClipDecoder:
    """Decodes, crops and augments clips; picklable, so that each worker process holds one.

    Args:
        config: The settings of the data.
        videos: The dataset's videos.
        frames: Frames in a clip, T.
        size: Height and width of a clip in pixels.
    """

    def __init__(self, config: ClipConfig, videos: Sequence[Video], frames: int, size: int) -> None:
        self.config, self.frames, self.size = config, frames, size
        self.cache = VideoCache(config.cache_mib, config.opens_with)
        self._window_kind = frames, config.stride, config.sampling
        self._windows = None
        if config.cache_windows:
            folder = data_root("windows", config.cache_dir)
            step = config.stride if config.sampling == "stride" else config.sampling
            self._windows = WindowCache(folder, config.cache_windows, frames, step, config.opens_with)
        # Built before workers are forked, so that not each of them imports timm.
        self._rand_augment = RandAugment(config.randaug) if config.randaug else None
        # One block of bytes, which forked workers share; of Python objects, reference counts would force copies.
        self._paths = np.array([os.fsencode(video.path) for video in videos])

    def path(self, id_: int) -> str:
        """Return the path of a video."""
        return os.fsdecode(bytes(self._paths[id_]))

    def id(self, draw: Draw, attempt: int) -> int:
        """Return the video of this attempt: first the one drawn, then random ones."""
        return self._video_and_rng(draw, attempt)[0]

    def draw(self, draw: Draw, attempt: int, out: Tensor) -> int:
        """Decode one window, write R views of it into `out` (R, C, T, H, W), and return the id of its video.

        Raises:
            VideoReadError: If the video cannot be read, or its frames cannot be augmented.
        """
        id_, rng = self._video_and_rng(draw, attempt)
        frames = self._window(id_, rng)  # (T, H, W, C)
        displayed = self._displayed_width(id_, frames.shape[2])
        for view in out:
            try:
                clip = self._augmented(frames, displayed, rng)
            except DistortionError as err:
                raise VideoReadError(f"{self.path(id_)}: {err} ({draw}, attempt {attempt})") from err
            view.copy_(clip)
        return id_

    def views(self, id_: int, views: Views, out: Tensor) -> None:
        """Write the test views of a video into `out` (R, C, T, H, W), window by window.

        The video is opened once, and no frame is decoded twice.

        Raises:
            VideoReadError: If the video cannot be read.
        """
        with closing(self._open(id_)) as video:
            spread = published_windows if self.config.published_views else view_windows
            windows = spread(len(video), *self._window_kind, views.temporal)  # (temporal, T)
            wanted = np.unique(windows)
            frames = video.get_batch(wanted.tolist())
        displayed = self._displayed_width(id_, frames.shape[2])
        rows = iter(out)
        for window in windows:
            for square in self._squares(frames[np.searchsorted(wanted, window)], displayed, views.spatial):
                next(rows).copy_(square)

    def _squares(self, frames: NDArray[np.uint8], displayed: int, count: int) -> Iterable[Tensor]:
        """Cut the squares (C, T, size, size) for testing from a window (T, H, W, C), displayed in this width."""
        if self.config.published_views:
            return published_squares(frames, count, self.size)
        height, width = frames.shape[1:3]
        boxes = [stored_box(box, displayed, width) for box in view_boxes(height, displayed, count)]
        return (crop_and_resize(frames, box, self.size, antialias=self.config.antialias) for box in boxes)

    def _video_and_rng(self, draw: Draw, attempt: int) -> tuple[int, np.random.Generator]:
        """Return the video of this attempt, and the random generator of its window and crops."""
        rng = np.random.default_rng([CLIP_SEED, *draw, attempt])
        return draw.id if attempt == 0 else int(rng.integers(len(self._paths))), rng

    def _window(self, id_: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Decode a random window (T, H, W, C), or read it from the cache."""
        if self._windows is None:
            return self._decode(id_, partial(random_window, rng=rng))
        which, path = int(rng.integers(self._windows.windows)), Path(self.path(id_))
        return self._windows.get(path, which, lambda where: self._decode(id_, partial(window_at, where=where)))

    def _open(self, id_: int) -> VideoReader:
        return self.cache.open(Path(self.path(id_)))

    def _decode(self, id_: int, window: Callable[[int, int, int, Sampling], NDArray[np.int64]]) -> NDArray[np.uint8]:
        with closing(self._open(id_)) as video:
            return video.get_batch(window(len(video), *self._window_kind).tolist())

    def _displayed_width(self, id_: int, width: int) -> int:
        """Return the width of the displayed picture whose stored frames are `width` wide."""
        if self.config.pixel_aspect == "ignore":
            return width
        try:
            return displayed_width(width, pixel_aspect_of(self.path(id_), self.config.opens_with))
        except ValueError as err:
            raise VideoReadError(f"{self.path(id_)}: {err}; correct the file, or set pixel_aspect to 'ignore'") from err

    def _augmented(self, frames: NDArray[np.uint8], displayed: int, rng: np.random.Generator) -> Tensor:
        """Crop and augment a window (T, H, W, C), displayed in this width, into one view (C, T, H, W)."""
        with distorting("RandAugment"):
            pixels = self._rand_augment(frames, rng) if self._rand_augment else frames
        with distorting("crop_and_resize"):
            height, width = frames.shape[1:3]
            box = stored_box(self._box(height, displayed, rng), displayed, width)
            flip = self.config.flip and rng.random() < 0.5
            clip = crop_and_resize(pixels, box, self.size, flip, antialias=self.config.antialias)
        with distorting("erase"):
            if self.config.erase and rng.random() < self.config.erase:
                erase(clip, rng)
        return clip

    def _box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        if self.config.crop == "centre":
            return centre_crop_box(height, width)
        if self.config.crop == "random_resized":
            return random_resized_crop_box(height, width, rng, (self.config.crop_scale, 1.0))
        return multi_scale_crop_box(height, width, self.size, rng)


def empty_views(count: int, frames: int, size: int, *, pin_memory: bool = False) -> Tensor:
    """Allocate `count` views (count, C, T, H, W), uint8, uninitialised."""
    return torch.empty((count, CHANNELS, frames, size, size), dtype=torch.uint8, pin_memory=pin_memory)
