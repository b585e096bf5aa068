"""An endless, shuffled, reproducible stream of clips, decoded in this process or in workers."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tats_gym.clips.batch import ClipBatch
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.datasets.listing import list_videos
from tats_gym.clips.decoder import ClipDecoder, Views, empty_views
from tats_gym.clips.eval_loader import InlineEvalLoader, PrefetchEvalLoader
from tats_gym.clips.plan import Plan
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import EvalCut
from tats_gym.clips.train_loader import InlineTrainLoader, PrefetchTrainLoader
from tats_gym.clips.workers.supervisor import TaskFailure

logger = logging.getLogger(__name__)

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
        MissingDataError: The dataset is not on the disk.
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
        if frames < 1 or size < 1:
            raise ValueError(f"frames and size must be at least 1, got {frames} and {size}")
        if not 0 <= shard[0] < shard[1]:
            raise ValueError(f"shard must be (rank, ranks) with 0 <= rank < ranks, got {shard}")
        self.config = config
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
        self._lost_again = self._asked_again = 0  # clips
        self._shape = (frames, size)
        self._pin_memory = pin_memory
        self._train_loader: InlineTrainLoader | PrefetchTrainLoader | None = None
        self._eval_loader: InlineEvalLoader | PrefetchEvalLoader | None = None
        self.seek(0, seed)

    def __len__(self) -> int:
        """Number of clips in an epoch of this rank: `repeats` views of every video."""
        return len(self._plan) * self.config.repeats

    @property
    def seed(self) -> int:
        """Source of the order, the windows and the crops."""
        return self._plan.seed

    def take(self, count: int) -> ClipBatch:
        """Return the next `count` clips.

        Raises:
            VideoReadError: Too many videos could not be read, in a row or in total.
            WorkerError: The worker processes do not start.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        start = time.perf_counter()
        repeats = self.config.repeats
        batch = self._empty_batch(count)
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
            IndexError: A position is negative.
            VideoReadError: No clip can be read, or too many could not so far, see `max_broken`.
        """
        start = time.perf_counter()
        rows: dict[int, list[tuple[int, int]]] = defaultdict(list)  # number of a draw -> (row, view)
        for row, position in enumerate(positions):
            if position < 0:
                raise IndexError(f"positions must not be negative, got {position}")
            number, view = divmod(position, self.config.repeats)
            rows[number].append((row, view))
        numbers = sorted(rows)  # sorted, as each change of epoch recomputes the order
        cuts = [self._plan.cut(number, 1 + max(view for _, view in rows[number])) for number in numbers]
        batch, lost = self._empty_batch(len(positions)), list[int]()
        batch.positions[:] = torch.tensor(positions)
        found = self._open_eval_loader().read(cuts, self.config.repeats)
        for number, (id_, views) in zip(numbers, found, strict=True):
            if isinstance(views, TaskFailure):
                self._leave_out(id_, views)
                lost += [row for row, _ in rows[number]]
                continue
            for row, view in rows[number]:
                batch.pixels.numpy()[row], batch.ids[row] = views[view].numpy(), id_
        if lost:
            batch = batch.at(sorted(set(range(len(batch))).difference(lost)))
            if not len(batch):
                raise VideoReadError(f"none of {len(lost)} clips can be read any more; their videos are named above")
        self._lost_again, self._asked_again = self._lost_again + len(lost), self._asked_again + len(positions)
        self._plan.check_broken_share(self._lost_again, self._asked_again)
        batch.labels[:] = self._labels[batch.ids]
        self.wait_s += time.perf_counter() - start
        return batch

    def _leave_out(self, id_: int, failure: TaskFailure) -> None:
        path = self._decoder.path(id_)
        if path not in self.broken:
            logger.warning("%s; it is left out", failure.cause_at(path))
        self.broken[path] += 1

    def centre(self, ids: Sequence[int]) -> ClipBatch:
        """Return the centre view of the videos `ids`, with the middle window and square; raises as `views` does."""
        return self.views(ids)

    def views(self, ids: Sequence[int], *, temporal: int = 1, spatial: int = 1) -> ClipBatch:
        """Return the test views of the videos `ids`: `temporal` windows of each, and `spatial` squares of each window.

        Both are evenly spaced from one end of the video, or of the frame, to the other; a single one lies in the
        middle. No random numbers are drawn, and `position` stays.

        Returns:
            V = temporal * spatial clips of each video, (B * V, C, T, H, W): video by video, and within a video window
            by window. `scores.unflatten(0, (-1, V)).mean(1)` averages scores over the views.

        Raises:
            IndexError: An id is not in the dataset.
            VideoReadError: A video cannot be read.
        """
        views = self._views(ids, temporal, spatial)
        pixels, causes = self._empty_views(len(ids), views), []
        cuts = [EvalCut(id_, views) for id_ in ids]
        for row, (id_, found) in zip(pixels.numpy(), self._open_eval_loader().read(cuts, views.count), strict=True):
            if isinstance(found, TaskFailure):
                causes.append(found.cause_at(self._decoder.path(id_)))
            else:
                row[:] = found.numpy()
        if causes:
            raise VideoReadError(causes[0])
        return self._viewed(pixels, ids)

    def each(
        self, ids: Sequence[int], batch_size: int, *, temporal: int = 1, spatial: int = 1, total: int | None = None
    ) -> Iterator[ClipBatch]:
        """Yield the test views of many videos, see `views`, in batches, which workers decode ahead.

        Every id comes once, in order: among the clips, or in `missing` if its video cannot be read, which is also
        logged and counted in `broken`. Only the last batch may hold fewer videos, and it is empty only if no video of a
        part can be read. Prefetched clips take the memory of (batch_size + 2 * num_workers) * V clips.

        Args:
            ids: Positions in the list of videos.
            batch_size: Videos in a batch.
            temporal: See `views`.
            spatial: See `views`.
            total: Number of videos of which `ids` are a part, and of which at most `max_broken` may be missing; None
                for `ids` alone.

        Raises:
            IndexError: An id is not in the dataset.
            VideoReadError: No video can be read, or too many cannot, see `max_broken`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return self._each(ids, batch_size, self._views(ids, temporal, spatial), len(ids) if total is None else total)

    def _each(self, ids: Sequence[int], batch_size: int, views: Views, total: int) -> Iterator[ClipBatch]:
        pixels = self._empty_views(batch_size, views)
        shown: list[int] = []
        missing: list[int] = []
        lost = 0
        cuts = (EvalCut(id_, views) for id_ in ids)
        read = self._open_eval_loader().read(cuts, views.count, ahead=batch_size)
        for id_, found in read:
            if isinstance(found, TaskFailure):
                self._leave_out(id_, found)
                missing.append(id_)
                lost += 1
                # Of all, not of those read so far: the broken ones may come first.
                self._plan.check_broken_share(lost, total)
                continue
            if len(shown) == batch_size:  # yielded no earlier, so that ids missing at the end have a batch too
                yield self._viewed(pixels, shown, missing)
                pixels, shown, missing = self._empty_views(batch_size, views), [], []
            pixels.numpy()[len(shown)] = found.numpy()
            shown.append(id_)
        if missing and lost == total:
            raise VideoReadError(f"none of the {total} videos could be read; they are named above")
        if shown or missing:
            yield self._viewed(pixels, shown, missing)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Continue from `position`, as if reached by `take`; a new `seed` gives a new order."""
        seed = self.seed if seed is None else seed
        if position < 0 or seed < 0:
            raise ValueError(f"position and seed must not be negative, got {position} and {seed}")
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
        for each in (self._train_loader, self._eval_loader):
            if each is not None:
                each.close()
        self._train_loader = self._eval_loader = None

    def _empty_batch(self, count: int) -> ClipBatch:
        return ClipBatch.around(empty_views(count, *self._shape, pin_memory=self._pin_memory))

    def _views(self, ids: Sequence[int], temporal: int, spatial: int) -> Views:
        for id_ in ids:
            if not 0 <= id_ < len(self.videos):
                raise IndexError(f"ids must lie in [0, {len(self.videos)}), got {id_}")
        return Views(temporal, spatial)

    def _empty_views(self, count: int, views: Views) -> Tensor:
        """Allocate the views of `count` videos (count, V, C, T, H, W)."""
        pixels = empty_views(count * views.count, *self._shape, pin_memory=self._pin_memory)
        return pixels.view(count, views.count, *pixels.shape[1:])

    def _viewed(self, pixels: Tensor, ids: Sequence[int], missing: Sequence[int] = ()) -> ClipBatch:
        shown = torch.tensor(ids, dtype=torch.int64).repeat_interleave(pixels.shape[1])
        nowhere = torch.full_like(shown, -1)
        return ClipBatch(pixels[: len(ids)].flatten(0, 1), shown, self._labels[shown], nowhere, tuple(missing))

    def _open_eval_loader(self) -> InlineEvalLoader | PrefetchEvalLoader:
        if self._eval_loader is None:
            loader = PrefetchEvalLoader if self.config.num_workers else InlineEvalLoader
            self._eval_loader = loader(self._decoder)
        return self._eval_loader

    def _make_train_loader(self, count: int) -> InlineTrainLoader | PrefetchTrainLoader:
        config = self.config
        views = empty_views(config.repeats, *self._shape)
        if not config.num_workers:
            return InlineTrainLoader(self._decoder, self._plan, views)
        slots = (1 + PREFETCHED_BATCHES) * -(-count // config.repeats) + config.num_workers
        return PrefetchTrainLoader(self._decoder, self._plan, slots, tuple(views.shape))
