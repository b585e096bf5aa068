"""Evaluation loaders: decode given cuts in order, inline or prefetched by workers, and report unreadable videos."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder, empty_views
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Cut, cutters
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.shared_memory import SharedRoom
from tats_gym.clips.workers.supervisor import TASKS_PER_WORKER, TaskFailure


class ViewsHere:
    """Decodes each cut in this process when it is requested."""

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder

    def read(self, cuts: Iterable[Cut], most: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | TaskFailure]]:
        """Yield the id of each cut's video with its clips (count, C, T, H, W), or with the cause of the failure.

        Args:
            cuts: Cuts in the order of the results.
            most: Most clips in a cut.
            ahead: Ignored, as there are no workers.

        Yields:
            Clips that are valid until the next ones are requested.
        """
        room = empty_views(most, self._decoder.frames, self._decoder.size)
        for cut in cuts:
            id_, out = cut.video(self._decoder), room[: cut.count]
            try:
                cut.make(self._decoder, out)
            except VideoReadError as err:
                yield id_, TaskFailure(str(err))
            else:
                yield id_, out

    def close(self) -> None:
        """Do nothing: there are no workers."""


class ViewsAhead:
    """Decodes cuts ahead of time in worker processes, which start with the first `read` and serve later ones too.

    Args:
        decoder: Decodes the clips; its settings give the number of workers and their limits.
    """

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder
        self._pool: WorkerPool | None = None
        self._room: SharedRoom | None = None
        self._busy = False

    def read(self, cuts: Iterable[Cut], most: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | TaskFailure]]:
        """See `ViewsHere.read`.

        Leaving the iterator before its end stops the workers, as does a second `read` in the meantime.

        Args:
            cuts: Consumed as slots become free.
            most: Most clips in a cut.
            ahead: Decoded cuts that may wait, beyond those assigned to the workers.

        Raises:
            RuntimeError: Another `read` has begun, or the loader was closed.
        """
        pool, room = self._prepare(most, ahead + TASKS_PER_WORKER * self._decoder.config.num_workers)
        free = deque(range(room.shape[0]))
        under_way = deque[tuple[Cut, int]]()  # (cut, slot), in the order of the results
        answers: dict[int, TaskFailure | None] = {}  # by slot, which at most one task has
        coming = iter(cuts)
        try:
            while True:
                if pool is not self._pool:
                    raise RuntimeError("the views cannot be read on: another reading has begun, or it was closed")
                for cut in islice(coming, len(free)):
                    under_way.append((cut, free.popleft()))
                    pool.submit(under_way[-1][1], under_way[-1])
                if not under_way:
                    self._busy = False
                    return
                cut, slot = under_way[0]
                while slot not in answers:
                    number, answers[number] = pool.next()
                lost = answers.pop(slot)
                yield cut.video(self._decoder), lost or room.views[slot, : cut.count]
                under_way.popleft()
                free.append(slot)
        finally:
            if under_way and pool is self._pool:
                self.close()  # answers to the remaining tasks would be taken for those of the next `read`

    def close(self) -> None:
        """Stop the workers; the next `read` starts them again."""
        if self._pool is not None and self._room is not None:
            self._pool.close()
            self._room.close()
        self._pool, self._room, self._busy = None, None, False

    def _prepare(self, count: int, slots: int) -> tuple[WorkerPool, SharedRoom]:
        """Return workers and shared memory with at least `slots` slots for cuts of `count` clips."""
        shape = (slots, *empty_views(count, self._decoder.frames, self._decoder.size).shape)
        if self._room is not None and (self._busy or self._room.shape[0] < slots or self._room.shape[1] < count):
            self.close()
        if self._pool is None or self._room is None:
            self._room = SharedRoom(shape)
            self._pool = cutters(self._decoder, self._room)
        self._busy = True
        return self._pool, self._room
