"""Makes chosen cuts in order, in this process or ahead of time in workers: what a test looks at, or what was drawn."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder, empty_views
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Cut, cutters
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.shared_memory import SharedRoom
from tats_gym.clips.workers.supervisor import IN_HAND, Lost


class ViewsHere:
    """Decodes each video when it is asked for."""

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder

    def read(self, cuts: Iterable[Cut], most: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | Lost]]:
        """Yield the id of each cut's video with its clips (count, C, T, H, W), or with why there are none.

        Args:
            cuts: In the order in which they are yielded.
            most: Clips of a cut at most.
            ahead: Nothing is decoded ahead.

        Yields:
            Clips that are valid until the next ones.
        """
        room = empty_views(most, self._decoder.frames, self._decoder.size)
        for cut in cuts:
            id_, out = cut.video(self._decoder), room[: cut.count]
            try:
                cut.make(self._decoder, out)
            except VideoReadError as err:
                yield id_, Lost(str(err))
            else:
                yield id_, out

    def close(self) -> None:
        """There is nothing to end."""


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

    def read(self, cuts: Iterable[Cut], most: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | Lost]]:
        """See `ViewsHere.read`.

        A reading that is left before its end ends the workers, as does another one that begins meanwhile.

        Args:
            cuts: Taken as there is room for them.
            most: Clips of a cut at most.
            ahead: Cuts that wait decoded, beyond those that the workers have in hand.

        Raises:
            RuntimeError: Another reading has begun, or the workers were ended.
        """
        pool, room = self._prepare(most, ahead + IN_HAND * self._decoder.config.num_workers)
        free, under_way = deque(range(room.shape[0])), deque[tuple[Cut, int]]()  # (cut, slot), as they were asked for
        answers: dict[int, Lost | None] = {}  # by slot: at most one task has it
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
            self._room = SharedRoom(shape)
            self._pool = cutters(self._decoder, self._room)
        self._busy = True
        return self._pool, self._room
