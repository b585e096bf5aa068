"""An endless, shuffled, reproducible stream of clips, decoded in this process or in workers."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from tats_gym.clips.batch import ClipBatch
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.datasets.listing import list_videos
from tats_gym.clips.decoder import ClipDecoder, Views, empty_views
from tats_gym.clips.streaming.eval_clips import EvalClips
from tats_gym.clips.streaming.plan import Plan
from tats_gym.clips.streaming.train_loader import InlineTrainLoader, PrefetchTrainLoader

PREFETCHED_BATCHES = 2
"""Batches decoded ahead."""


class ClipStream:
    """An endless stream of a dataset's clips, shuffled anew each epoch.

    The clip at a position depends on the seed and the journal alone, not on the number of workers, the batch sizes or
    earlier calls. An unreadable video is logged, counted in `broken` and replaced by another one.

    Args:
        config: The settings of the data.
        frames: Frames in a clip, T.
        size: Height and width of a clip in pixels.
        seed: Source of the order, the windows and the crops; not negative.
        shard: (rank, ranks); each rank takes its own part of every epoch.
        pin_memory: Return batches in page-locked memory, for copies to a GPU that overlap with its work.

    Raises:
        MissingDataError: If the dataset is not on the disk.
    """

    def __init__(
        self,
        config: ClipConfig,
        *,
        frames: int,
        size: int,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        pin_memory: bool = False,
    ) -> None:
        for name, value in (("frames", frames), ("size", size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard must be (rank, ranks) with 0 <= rank < ranks, got {shard}")
        self.config, self.frames, self.size = config, frames, size
        self.videos = list_videos(
            config.data,
            config.root,
            config.split,
            fold=config.fold,
            subset=config.subset,
            subset_seed=config.subset_seed,
            index=config.index,
        )
        self.position = 0
        """Clips taken since the start; the epoch is `position // len(stream)`."""
        self.wait_s = 0.0
        """Seconds that `take` and `again` waited for clips, in total."""
        self._decoder = ClipDecoder(config, self.videos.videos, frames, size)
        self._plan = Plan(self._decoder, len(self.videos), shard)
        self.broken = self._plan.broken
        """Path of each unreadable video to its number of failures."""
        self.journal = self._plan.journal
        """The replaced draws; a run keeps them in a file, and reads them when it resumes."""
        self._labels = torch.tensor([-1 if v.label is None else v.label for v in self.videos.videos])
        self._pin_memory = pin_memory
        self._train_loader: InlineTrainLoader | PrefetchTrainLoader | None = None
        self._eval_clips = EvalClips(self._decoder, self._plan, self._labels, pin_memory=pin_memory)
        self.seek(0, seed)

    def __len__(self) -> int:
        """Return the number of clips in an epoch of this rank: `repeats` views of every video."""
        return len(self._plan) * self.config.repeats

    @property
    def seed(self) -> int:
        """Source of the order, the windows and the crops."""
        return self._plan.seed

    def take(self, count: int) -> ClipBatch:
        """Return the next `count` clips.

        Raises:
            VideoReadError: If too many videos could not be read, in a row or in total.
            WorkerError: If the worker processes do not start.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        start = time.perf_counter()
        repeats = self.config.repeats
        batch = ClipBatch.around(empty_views(count, self.frames, self.size, pin_memory=self._pin_memory))
        pixels = batch.pixels.numpy()  # a copy by torch would keep all its threads spinning, at the workers' expense
        try:
            loader = self._train_loader = self._train_loader or self._make_train_loader(count)
            loader.prefetch(-(-(self.position + count) // repeats))
            for row, view in enumerate(range(self.position, self.position + count)):
                loader.drop_before(view // repeats)
                loaded = loader.get(view // repeats)
                pixels[row], batch.ids[row] = loaded.views[view % repeats].numpy(), loaded.id
                if view % repeats == 0:
                    self._plan.count_delivered(view // repeats)
        except BaseException:
            self.close()  # drops the prefetched clips; the next call starts again from `position`
            raise
        batch.positions[:] = torch.arange(self.position, self.position + count)
        self.position += count
        loader.drop_before(self.position // repeats)
        loader.prefetch((self.position + PREFETCHED_BATCHES * count) // repeats)
        self.wait_s += time.perf_counter() - start
        batch.labels[:] = self._labels[batch.ids]
        return batch

    def again(self, positions: Sequence[int]) -> ClipBatch:
        """Decode again the clips that `take` returns at these positions of the current seed; `position` stays.

        Replaced videos are known from `take` or from the journal. Videos that have become unreadable are logged,
        counted in `broken` and left out: the batch's `positions` name the remaining clips. Separate workers are used,
        as many as for `take`, each with as large a cache.

        Raises:
            IndexError: If a position is negative.
            VideoReadError: If no clip can be read, or too many could not so far, see `max_broken`.
        """
        start = time.perf_counter()
        batch = self._eval_clips.again(positions)
        self.wait_s += time.perf_counter() - start
        return batch

    def centre(self, ids: Sequence[int]) -> ClipBatch:
        """Return the centre view of the videos `ids`, with the middle window and square; raises as `views` does."""
        return self.views(ids)

    def views(self, ids: Sequence[int], *, temporal: int = 1, spatial: int = 1) -> ClipBatch:
        """Return the test views of the videos `ids`: `temporal` windows of each, and `spatial` squares of each window.

        Both are evenly spaced from one end of the video, or of the frame, to the other; a single one lies in the
        middle. No random numbers are drawn, and `position` stays.

        Returns:
            R = temporal * spatial clips of each video, (B * R, C, T, H, W): video by video, and within a video window
            by window. `scores.unflatten(0, (-1, R)).mean(1)` averages scores over the views.

        Raises:
            IndexError: If an id is not in the dataset.
            VideoReadError: If a video cannot be read.
        """
        return self._eval_clips.views(ids, self._views(ids, temporal, spatial))

    def each(
        self, ids: Sequence[int], batch_size: int, *, temporal: int = 1, spatial: int = 1, total: int | None = None
    ) -> Iterator[ClipBatch]:
        """Yield the test views of many videos, see `views`, in batches, which workers decode ahead.

        Every id comes once, in order: among the clips, or in `missing` if its video cannot be read, which is also
        logged and counted in `broken`. Only the last batch may hold fewer videos, and it is empty only if no video of a
        part can be read. Prefetched clips take the memory of (batch_size + 2 * num_workers) * R clips.

        Args:
            ids: Indices in the list of videos.
            batch_size: Videos in a batch.
            temporal: See `views`.
            spatial: See `views`.
            total: Number of videos of which `ids` are a part, and of which at most `max_broken` may be missing; None
                for `ids` alone.

        Raises:
            IndexError: If an id is not in the dataset.
            VideoReadError: If no video can be read, or too many cannot, see `max_broken`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        views = self._views(ids, temporal, spatial)
        return self._eval_clips.each(ids, batch_size, views, len(ids) if total is None else total)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Continue from `position`, as if reached by `take`; a new `seed` gives a new order."""
        seed = self.seed if seed is None else seed
        for name, value in (("position", position), ("seed", seed)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self._train_loader is not None:
            self._train_loader.reset()
        self.position = position
        self._plan.restart(seed)

    def keep_journal(self, path: Path) -> None:
        """Keep the journal in this file, and repeat the replacements that it already holds."""
        self.journal.keep(path)
        self.seek(self.position)

    def close(self) -> None:
        """Stop the worker processes; a later `take` or `views` starts them again."""
        if self._train_loader is not None:
            self._train_loader.close()
        self._train_loader = None
        self._eval_clips.close()

    def _views(self, ids: Sequence[int], temporal: int, spatial: int) -> Views:
        self._check_ids(ids)
        return Views(temporal, spatial)

    def _check_ids(self, ids: Sequence[int]) -> None:
        for id_ in ids:
            if not 0 <= id_ < len(self.videos):
                raise IndexError(f"ids must lie in [0, {len(self.videos)}), got {id_}")

    def _make_train_loader(self, count: int) -> InlineTrainLoader | PrefetchTrainLoader:
        config = self.config
        views = empty_views(config.repeats, self.frames, self.size)
        if not config.num_workers:
            return InlineTrainLoader(self._decoder, self._plan, views)
        slots = (1 + PREFETCHED_BATCHES) * -(-count // config.repeats) + config.num_workers
        return PrefetchTrainLoader(self._decoder, self._plan, slots, tuple(views.shape))
