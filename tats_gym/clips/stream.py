"""An endless, shuffled, repeatable stream of clips, decoded here or in worker processes."""

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
from tats_gym.clips.workers.supervisor import Lost

logger = logging.getLogger(__name__)

PREFETCHED = 2
"""Batches that are decoded ahead."""


class ClipStream:
    """Clips of a dataset, shuffled anew each epoch, without end.

    The clip at a position follows from the seed and the journal: neither the number of workers, nor the sizes of the
    batches, nor what was taken before has a part in it. A video that cannot be read is logged, counted in
    `broken`, and another one takes its place.

    Args:
        config: Which clips.
        frames: Frames in a clip, T.
        size: Height and width of a clip in pixels.
        seed: Source of the order, the windows and the crops; not negative.
        shard: Rank and number of ranks; each takes its own part of every epoch.
        pin_memory: Hand out batches in page-locked memory, for copies to a GPU that overlap with its work.

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
        """Path of each video that could not be read to the number of times."""
        self.journal = self._plan.journal
        """What was replaced; a run keeps it in a file, and goes on with it."""
        self._labels = torch.tensor([-1 if v.label is None else v.label for v in self.videos.videos])
        self._lost_again = self._asked_again = 0  # clips
        self._shape = (frames, size)
        self._pin_memory = pin_memory
        self._loader: Here | Ahead | None = None
        self._viewer: ViewsHere | ViewsAhead | None = None
        self.seek(0, seed)

    def __len__(self) -> int:
        """Clips in an epoch of this rank: every video once, `repeats` views of each."""
        return len(self._plan) * self.config.repeats

    @property
    def seed(self) -> int:
        """Source of the order, the windows and the crops."""
        return self._plan.seed

    def take(self, count: int) -> ClipBatch:
        """The next `count` clips.

        Raises:
            VideoReadError: Too many videos could not be read, in a row or in all.
            WorkerError: The worker processes do not start.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        start = time.perf_counter()
        repeats = self.config.repeats
        batch = self._room(count)
        pixels = batch.pixels.numpy()  # a copy by torch keeps all its threads spinning, which workers could use
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
            self.close()  # what was decoded ahead is lost; the next call goes on from `position`
            raise
        batch.positions[:] = torch.arange(self.position, self.position + count)
        self.position += count
        loader.drop_before(self.position // repeats)
        loader.prefetch((self.position + PREFETCHED * count) // repeats)
        self.wait_s += time.perf_counter() - start
        batch.labels[:] = self._labels[batch.ids]
        return batch

    def again(self, positions: Sequence[int]) -> ClipBatch:
        """The very clips that `take` gives at these positions of the present seed, cut anew; `position` stays.

        Which videos were replaced is known from having taken them, or from the journal. Those that cannot be read any
        more are logged, counted in `broken` and left out: `positions` of the batch says which are there. Workers are
        others than those of `take`: as many, with as large a cache each.

        Raises:
            IndexError: A position is negative.
            VideoReadError: None can be read, or too many could not so far, see `max_broken`.
        """
        start = time.perf_counter()
        rows: dict[int, list[tuple[int, int]]] = defaultdict(list)  # number of a draw -> (row, view)
        for row, position in enumerate(positions):
            if position < 0:
                raise IndexError(f"positions must not be negative, got {position}")
            number, view = divmod(position, self.config.repeats)
            rows[number].append((row, view))
        numbers = sorted(rows)  # as an epoch's order is made anew for each jump to another one
        cuts = [self._plan.drawn(number, 1 + max(view for _, view in rows[number])) for number in numbers]
        batch, lost = self._room(len(positions)), list[int]()
        batch.positions[:] = torch.tensor(positions)
        found = self._viewing().read(cuts, self.config.repeats)
        for number, (id_, views) in zip(numbers, found, strict=True):
            if isinstance(views, Lost):
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

    def _leave_out(self, id_: int, lost: Lost) -> None:
        path = self._decoder.path(id_)
        if path not in self.broken:
            logger.warning("%s; it is left out", lost.cause_at(path))
        self.broken[path] += 1

    def centre(self, ids: Sequence[int]) -> ClipBatch:
        """The clips `ids` in their centre view, the window and the square in the middle; raises as `views` does."""
        return self.views(ids)

    def views(self, ids: Sequence[int], *, temporal: int = 1, spatial: int = 1) -> ClipBatch:
        """The videos `ids` as a test looks at them: `temporal` windows of each, and `spatial` squares of each window.

        Both are spread evenly from one end of the video, or of the frame, to the other; a single one lies in the
        middle. Nothing is drawn, and `position` stays.

        Returns:
            V = temporal * spatial clips of each video, (B * V, C, T, H, W): one video after the other, and within it
            one window after the other. `scores.unflatten(0, (-1, V)).mean(1)` averages scores over the views.

        Raises:
            IndexError: An id is not in the dataset.
            VideoReadError: A video cannot be read.
        """
        views = self._views(ids, temporal, spatial)
        room, causes = self._views_room(len(ids), views), []
        cuts = [Shown(id_, views) for id_ in ids]
        for row, (id_, found) in zip(room.numpy(), self._viewing().read(cuts, views.count), strict=True):
            if isinstance(found, Lost):
                causes.append(found.cause_at(self._decoder.path(id_)))
            else:
                row[:] = found.numpy()
        if causes:
            raise VideoReadError(causes[0])
        return self._viewed(room, ids)

    def each(
        self, ids: Sequence[int], batch_size: int, *, temporal: int = 1, spatial: int = 1, total: int | None = None
    ) -> Iterator[ClipBatch]:
        """The views of many videos, see `views`: `batch_size` videos at a time, which the workers decode ahead.

        Every id is met once, in order: among the clips, or in `missing` where its video cannot be read, which is
        logged and counted in `broken` too. Only the last batch may hold fewer videos, and it is empty only where a
        part has none that can be read. What waits decoded takes (batch_size + 2 * num_workers) * V clips of memory.

        Args:
            ids: Positions in the list of videos.
            batch_size: Videos in a batch.
            temporal: See `views`.
            spatial: See `views`.
            total: Of how many videos these are a part, of all of which no more than `max_broken` may be missing; None
                for these alone.

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
            if isinstance(found, Lost):
                self._leave_out(id_, found)
                missing.append(id_)
                lost += 1
                self._plan.judge(lost, total)  # not of those met so far: the broken ones may come first
                continue
            if len(shown) == batch_size:  # handed out no earlier, so that those missing at the end have a batch too
                yield self._viewed(room, shown, missing)
                room, shown, missing = self._views_room(batch_size, views), [], []
            room.numpy()[len(shown)] = found.numpy()
            shown.append(id_)
        if missing and lost == total:
            raise VideoReadError(f"none of the {total} videos could be read; they are named above")
        if shown or missing:
            yield self._viewed(room, shown, missing)

    def seek(self, position: int, seed: int | None = None) -> None:
        """Go on from `position` as a stream that came there by `take` would; `seed` gives a new order."""
        seed = self.seed if seed is None else seed
        if position < 0 or seed < 0:
            raise ValueError(f"position and seed must not be negative, got {position} and {seed}")
        if self._loader is not None:
            self._loader.forget()
        self.position = position
        self._plan.begin(seed)

    def keep_journal(self, path: Path) -> None:
        """Keep what is replaced in this file, and replace again from now on what it says was replaced."""
        self.journal.keep(path)
        self.seek(self.position)

    def close(self) -> None:
        """End the worker processes; a later `take` or `views` starts them again."""
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
        """Room for the views of so many videos (count, V, C, T, H, W)."""
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
