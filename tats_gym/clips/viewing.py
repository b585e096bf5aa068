"""Reads the views of chosen videos in order, in this process or ahead of time in workers: what a test looks at."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from tats_gym.clips.decoding import ClipDecoder, Views, empty_views
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.shared_room import SharedRoom
from tats_gym.clips.workers import IN_HAND, Lost, WorkerPool


class ViewsHere:
    """Decodes each video when it is asked for."""

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder

    def read(self, ids: Iterable[int], views: Views, ahead: int = 0) -> Iterator[tuple[int, Tensor | Lost]]:
        """Yield each id with its views (V, C, T, H, W), valid until the next, or with why there are none."""
        room = empty_views(views.count, self._decoder.frames, self._decoder.size)
        for id_ in ids:
            try:
                self._decoder.views(id_, views, room)
            except VideoReadError as err:
                yield id_, Lost(str(err))
            else:
                yield id_, room

    def close(self) -> None:
        """There is nothing to end."""


class _Cut:
    """What a worker does: the views of a video go into their slot of the room."""

    def __init__(self, decoder: ClipDecoder, room: SharedRoom) -> None:
        self.decoder, self.room = decoder, room

    def __call__(self, task: tuple[int, Views, int]) -> None:
        id_, views, slot = task
        self.decoder.views(id_, views, self.room.views[slot, : views.count])


class ViewsAhead:
    """Decodes in worker processes, which start with the first reading and stay for the next.

    Args:
        decoder: Makes the views; its settings say how many processes there are, and their limits.
    """

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder
        self._pool: WorkerPool | None = None
        self._room: SharedRoom | None = None
        self._busy = False

    def read(self, ids: Iterable[int], views: Views, ahead: int = 0) -> Iterator[tuple[int, Tensor | Lost]]:
        """See `ViewsHere.read`.

        A reading that is left before its end ends the workers, as does another one that begins meanwhile.

        Args:
            ids: Taken as there is room for them.
            views: Of each video.
            ahead: Videos that wait decoded, beyond those that the workers have in hand.

        Raises:
            RuntimeError: Another reading has begun, or the workers were ended.
        """
        pool, room = self._prepare(views.count, ahead + IN_HAND * self._decoder.config.num_workers)
        free, under_way = deque(range(room.shape[0])), deque[tuple[int, int]]()  # (id, slot), as they were asked for
        answers: dict[int, Lost | None] = {}  # by slot: at most one task has it
        coming = iter(ids)
        try:
            while True:
                if pool is not self._pool:
                    raise RuntimeError("the views cannot be read on: another reading has begun, or it was closed")
                for id_ in islice(coming, len(free)):
                    under_way.append((id_, free.popleft()))
                    pool.submit(under_way[-1][1], (id_, views, under_way[-1][1]))
                if not under_way:
                    self._busy = False
                    return
                id_, slot = under_way[0]
                while slot not in answers:
                    number, answers[number] = pool.next()
                lost = answers.pop(slot)
                yield id_, lost or room.views[slot, : views.count]
                under_way.popleft()
                free.append(slot)
        finally:
            if under_way and pool is self._pool:
                self.close()  # what the workers still do would be taken for the answers of the next reading

    def close(self) -> None:
        """End the workers; the next reading starts them again."""
        if self._pool is not None and self._room is not None:
            self._pool.close()
            self._room.close()
        self._pool, self._room, self._busy = None, None, False

    def _prepare(self, count: int, slots: int) -> tuple[WorkerPool, SharedRoom]:
        """Workers with room for so many videos of `count` views."""
        shape = (slots, *empty_views(count, self._decoder.frames, self._decoder.size).shape)
        if self._room is not None and (self._busy or self._room.shape[0] < slots or self._room.shape[1] < count):
            self.close()
        if self._pool is None or self._room is None:
            config = self._decoder.config
            self._room = SharedRoom(shape)
            self._pool = WorkerPool(
                _Cut(self._decoder, self._room),
                config.num_workers,
                time_limit_s=config.time_limit_s,
                memory_limit_mib=config.memory_limit_mib + config.cache_mib,
                pass_fds=(self._room.fd,),
            )
        self._busy = True
        return self._pool, self._room
