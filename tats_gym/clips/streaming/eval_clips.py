"""Batches of given clips: the test views of videos, and training clips that are decoded again."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tats_gym.clips.batch import ClipBatch
from tats_gym.clips.decoder import ClipDecoder, Views, empty_views
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.streaming.eval_loader import InlineEvalLoader, PrefetchEvalLoader
from tats_gym.clips.streaming.plan import Plan
from tats_gym.clips.streaming.tasks import EvalCut
from tats_gym.clips.workers.supervisor import TaskFailure

logger = logging.getLogger(__name__)


class EvalClips:
    """Decodes given clips of a stream, and leaves out unreadable videos instead of replacing them.

    Args:
        decoder: Decodes the clips.
        plan: The stream's plan: gives the cuts of its positions, and counts broken videos.
        labels: Class of every video, -1 where unknown.
        pin_memory: See `ClipStream`.
    """

    def __init__(self, decoder: ClipDecoder, plan: Plan, labels: Tensor, *, pin_memory: bool) -> None:
        self._decoder, self._plan, self._labels, self._pin_memory = decoder, plan, labels, pin_memory
        self._lost_again = self._asked_again = 0  # clips
        self._loader: InlineEvalLoader | PrefetchEvalLoader | None = None

    def again(self, positions: Sequence[int]) -> ClipBatch:
        """See `ClipStream.again`."""
        repeats = self._decoder.config.repeats
        rows: dict[int, list[tuple[int, int]]] = defaultdict(list)  # number of a draw -> (row, view)
        for row, position in enumerate(positions):
            if position < 0:
                raise IndexError(f"positions must not be negative, got {position}")
            number, view = divmod(position, repeats)
            rows[number].append((row, view))
        numbers = sorted(rows)  # sorted, as each change of epoch recomputes the order
        cuts = [self._plan.cut(number, 1 + max(view for _, view in rows[number])) for number in numbers]
        batch, lost = ClipBatch.around(self._allocate(len(positions))), list[int]()
        batch.positions[:] = torch.tensor(positions)
        loaded = self._open_loader().read(cuts, repeats)
        for number, (id_, views) in zip(numbers, loaded, strict=True):
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
        return batch

    def views(self, ids: Sequence[int], views: Views) -> ClipBatch:
        """See `ClipStream.views`."""
        pixels, causes = self._empty_views(len(ids), views), []
        cuts = [EvalCut(id_, views) for id_ in ids]
        for row, (id_, loaded) in zip(pixels.numpy(), self._open_loader().read(cuts, views.count), strict=True):
            if isinstance(loaded, TaskFailure):
                causes.append(loaded.cause_at(self._decoder.path(id_)))
            else:
                row[:] = loaded.numpy()
        if causes:
            raise VideoReadError(causes[0])
        return self._view_batch(pixels, ids)

    def each(self, ids: Sequence[int], batch_size: int, views: Views, total: int) -> Iterator[ClipBatch]:
        """See `ClipStream.each`."""
        pixels = self._empty_views(batch_size, views)
        readable: list[int] = []
        missing: list[int] = []
        lost = 0
        cuts = (EvalCut(id_, views) for id_ in ids)
        read = self._open_loader().read(cuts, views.count, ahead=batch_size)
        for id_, loaded in read:
            if isinstance(loaded, TaskFailure):
                self._leave_out(id_, loaded)
                missing.append(id_)
                lost += 1
                # Of all, not of those read so far: the broken ones may come first.
                self._plan.check_broken_share(lost, total)
                continue
            if len(readable) == batch_size:  # yielded no earlier, so that ids missing at the end have a batch too
                yield self._view_batch(pixels, readable, missing)
                pixels, readable, missing = self._empty_views(batch_size, views), [], []
            pixels.numpy()[len(readable)] = loaded.numpy()
            readable.append(id_)
        if missing and lost == total:
            raise VideoReadError(f"none of the {total} videos could be read; they are named above")
        if readable or missing:
            yield self._view_batch(pixels, readable, missing)

    def close(self) -> None:
        """Stop the worker processes; a later call starts them again."""
        if self._loader is not None:
            self._loader.close()
        self._loader = None

    def _leave_out(self, id_: int, failure: TaskFailure) -> None:
        path = self._decoder.path(id_)
        if path not in self._plan.broken:
            logger.warning("%s; it is left out", failure.cause_at(path))
        self._plan.broken[path] += 1

    def _allocate(self, count: int) -> Tensor:
        return empty_views(count, self._decoder.frames, self._decoder.size, pin_memory=self._pin_memory)

    def _empty_views(self, count: int, views: Views) -> Tensor:
        """Allocate the views of `count` videos (count, R, C, T, H, W)."""
        pixels = self._allocate(count * views.count)
        return pixels.view(count, views.count, *pixels.shape[1:])

    def _view_batch(self, pixels: Tensor, ids: Sequence[int], missing: Sequence[int] = ()) -> ClipBatch:
        of_views = torch.tensor(ids, dtype=torch.int64).repeat_interleave(pixels.shape[1])  # (B * R,)
        positions = torch.full_like(of_views, -1)
        return ClipBatch(pixels[: len(ids)].flatten(0, 1), of_views, self._labels[of_views], positions, tuple(missing))

    def _open_loader(self) -> InlineEvalLoader | PrefetchEvalLoader:
        if self._loader is None:
            workers = self._decoder.config.num_workers
            self._loader = PrefetchEvalLoader(self._decoder) if workers else InlineEvalLoader(self._decoder)
        return self._loader
