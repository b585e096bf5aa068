"""Evaluation loaders: decode given cuts in order, inline or prefetched by workers, and report unreadable videos."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder, empty_views
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.streaming.tasks import Cut, start_workers
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.shared_memory import SharedBuffer
from tats_gym.clips.workers.supervisor import TASKS_PER_WORKER, TaskFailure


class InlineEvalLoader:
    """Decodes each cut in this process when it is requested."""

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder

    def read(self, cuts: Iterable[Cut], max_count: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | TaskFailure]]:
        """Yield the id of each cut's video with its clips (count, C, T, H, W), or with the cause of the failure.

        Args:
            cuts: Cuts in the order of the results.
            max_count: Most clips in a cut.
            ahead: Ignored, as there are no workers.

        Yields:
            Clips that are valid until the next ones are requested.
        """
        buffer = empty_views(max_count, self._decoder.frames, self._decoder.size)
        for cut in cuts:
            id_, out = cut.video(self._decoder), buffer[: cut.count]
            try:
                cut.make(self._decoder, out)
            except VideoReadError as err:
                yield id_, TaskFailure(str(err))
            else:
                yield id_, out

    def close(self) -> None:
        """No-op: there are no workers."""


class PrefetchEvalLoader:
    """Decodes cuts ahead of time in worker processes, which start with the first `read` and serve later ones too.

    Args:
        decoder: Decodes the clips; its settings give the number of workers and their limits.
    """

    def __init__(self, decoder: ClipDecoder) -> None:
        self._decoder = decoder
        self._pool: WorkerPool | None = None
        self._buffer: SharedBuffer | None = None
        self._busy = False

    def read(self, cuts: Iterable[Cut], max_count: int, ahead: int = 0) -> Iterator[tuple[int, Tensor | TaskFailure]]:
        """See `InlineEvalLoader.read`.

        Leaving the iterator before its end stops the workers, as does a second `read` in the meantime.

        Args:
            cuts: Consumed as slots become free.
            max_count: Most clips in a cut.
            ahead: Decoded cuts that may wait, beyond those assigned to the workers.

        Raises:
            RuntimeError: If another `read` has begun, or the loader was closed.
        """
        pool, buffer = self._prepare(max_count, ahead + TASKS_PER_WORKER * self._decoder.config.num_workers)
        free = deque(range(buffer.shape[0]))
        in_progress = deque[tuple[Cut, int]]()  # (cut, slot), in the order of the results
        answers: dict[int, TaskFailure | None] = {}  # by slot, which at most one task has
        remaining = iter(cuts)
        try:
            while True:
                if pool is not self._pool:
                    raise RuntimeError("this read cannot continue: another one has begun, or the loader was closed")
                for cut in islice(remaining, len(free)):
                    in_progress.append((cut, free.popleft()))
                    pool.submit(in_progress[-1][1], in_progress[-1])
                if not in_progress:
                    self._busy = False
                    return
                cut, slot = in_progress[0]
                while slot not in answers:
                    number, answers[number] = pool.next()
                lost = answers.pop(slot)
                yield cut.video(self._decoder), lost or buffer.views[slot, : cut.count]
                in_progress.popleft()
                free.append(slot)
        finally:
            if in_progress and pool is self._pool:
                self.close()  # answers to the remaining tasks would be taken for those of the next `read`

    def close(self) -> None:
        """Stop the workers; the next `read` starts them again."""
        if self._pool is not None and self._buffer is not None:
            self._pool.close()
            self._buffer.close()
        self._pool, self._buffer, self._busy = None, None, False

    def _prepare(self, count: int, slots: int) -> tuple[WorkerPool, SharedBuffer]:
        """Return workers and shared memory with at least `slots` slots for cuts of `count` clips."""
        shape = (slots, *empty_views(count, self._decoder.frames, self._decoder.size).shape)
        if self._buffer is not None and (self._busy or self._buffer.shape[0] < slots or self._buffer.shape[1] < count):
            self.close()
        if self._pool is None or self._buffer is None:
            self._buffer = SharedBuffer(shape)
            self._pool = start_workers(self._decoder, self._buffer)
        self._busy = True
        return self._pool, self._buffer
