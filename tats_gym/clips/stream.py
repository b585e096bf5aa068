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
from tats_gym.clips.eval_loader import ViewsAhead, ViewsHere
from tats_gym.clips.plan import Plan
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Shown
from tats_gym.clips.train_loader import Ahead, Here
from tats_gym.clips.workers.supervisor import TaskFailure

logger = logging.getLogger(__name__)

PREFETCHED = 2
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
        self._loader: Here | Ahead | None = None
        self._viewer: ViewsHere | ViewsAhead | None = None
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
        batch = self._room(count)
        pixels = batch.pixels.numpy()  # a copy by torch would keep all its threads spinning, at the workers' expense
        try:
            loader = self._loader = self._loader or self._start(count)
            loader.prefetch(-(-(self.position + count) // repeats))
            for row, view in enumerate(range(self.position, self.position + count)):
                loader.drop_before(view // repeats)
                loaded = loader.get(view // repeats)
                pixels[row], batch.ids[row] = loaded.views[view % repeats].numpy(), loaded.id
                if view % repeats == 0:
                    self._plan.done(view // repeats)
        except BaseException:
            self.close()  # drops the prefetched clips; the next call starts again from `position`
            raise
        batch.positions[:] = torch.arange(self.position, self.position + count)
        self.position += count
        loader.drop_before(self.position // repeats)
        loader.prefetch((self.position + PREFETCHED * count) // repeats)
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
        cuts = [self._plan.drawn(number, 1 + max(view for _, view in rows[number])) for number in numbers]
        batch, lost = self._room(len(positions)), list[int]()
        batch.positions[:] = torch.tensor(positions)
        found = self._viewing().read(cuts, self.config.repeats)
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
        self._plan.judge(self._lost_again, self._asked_again)
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
        room, causes = self._views_room(len(ids), views), []
        cuts = [Shown(id_, views) for id_ in ids]
        for row, (id_, found) in zip(room.numpy(), self._viewing().read(cuts, views.count), strict=True):
            if isinstance(found, TaskFailure):
                causes.append(found.cause_at(self._decoder.path(id_)))
            else:
                row[:] = found.numpy()
        if causes:
            raise VideoReadError(causes[0])
        return self._viewed(room, ids)

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
        room = self._views_room(batch_size, views)
        shown: list[int] = []
        missing: list[int] = []
        lost = 0
        cuts = (Shown(id_, views) for id_ in ids)
        read = self._viewing().read(cuts, views.count, ahead=batch_size)
        for id_, found in read:
            if isinstance(found, TaskFailure):
                self._leave_out(id_, found)
                missing.append(id_)
                lost += 1
                self._plan.judge(lost, total)  # of all, not of those read so far: the broken ones may come first
                continue
            if len(shown) == batch_size:  # yielded no earlier, so that ids missing at the end have a batch too
                yield self._viewed(room, shown, missing)
                room, shown, missing = self._views_room(batch_size, views), [], []
            room.numpy()[len(shown)] = found.numpy()
            shown.append(id_)
        if missing and lost == total:
            raise VideoReadError(f"none of the {total} videos could be read; they are named above")
        if shown or missing:
            yield self._viewed(room, shown, missing)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Continue from `position`, as if reached by `take`; a new `seed` gives a new order."""
        seed = self.seed if seed is None else seed
        if position < 0 or seed < 0:
            raise ValueError(f"position and seed must not be negative, got {position} and {seed}")
        if self._loader is not None:
            self._loader.forget()
        self.position = position
        self._plan.begin(seed)

    def keep_journal(self, path: Path) -> None:
        """Keep the journal in this file, and repeat the replacements that it already holds."""
        self.journal.keep(path)
        self.seek(self.position)

    def close(self) -> None:
        """Stop the worker processes; a later `take` or `views` starts them again."""
        for each in (self._loader, self._viewer):
            if each is not None:
                each.close()
        self._loader = self._viewer = None

    def _room(self, count: int) -> ClipBatch:
        return ClipBatch.around(empty_views(count, *self._shape, pin_memory=self._pin_memory))

    def _views(self, ids: Sequence[int], temporal: int, spatial: int) -> Views:
        for id_ in ids:
            if not 0 <= id_ < len(self.videos):
                raise IndexError(f"ids must lie in [0, {len(self.videos)}), got {id_}")
        return Views(temporal, spatial)

    def _views_room(self, count: int, views: Views) -> Tensor:
        """Allocate the views of `count` videos (count, V, C, T, H, W)."""
        room = empty_views(count * views.count, *self._shape, pin_memory=self._pin_memory)
        return room.view(count, views.count, *room.shape[1:])

    def _viewed(self, room: Tensor, ids: Sequence[int], missing: Sequence[int] = ()) -> ClipBatch:
        shown = torch.tensor(ids, dtype=torch.int64).repeat_interleave(room.shape[1])
        nowhere = torch.full_like(shown, -1)
        return ClipBatch(room[: len(ids)].flatten(0, 1), shown, self._labels[shown], nowhere, tuple(missing))

    def _viewing(self) -> ViewsHere | ViewsAhead:
        self._viewer = self._viewer or (ViewsAhead if self.config.num_workers else ViewsHere)(self._decoder)
        return self._viewer

    def _start(self, count: int) -> Here | Ahead:
        config = self.config
        views = empty_views(config.repeats, *self._shape)
        if not config.num_workers:
            return Here(self._decoder, self._plan, views)
        slots = (1 + PREFETCHED) * -(-count // config.repeats) + config.num_workers
        return Ahead(self._decoder, self._plan, slots, tuple(views.shape))
