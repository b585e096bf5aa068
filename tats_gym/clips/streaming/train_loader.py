"""Training loaders: decode draws in order, inline or prefetched by workers, and replace unreadable videos."""

from collections import deque
from typing import NamedTuple

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.streaming.plan import Plan
from tats_gym.clips.streaming.tasks import TrainCut, start_workers
from tats_gym.clips.workers.shared_memory import SharedBuffer
from tats_gym.clips.workers.supervisor import TaskFailure


class Loaded(NamedTuple):
    """A decoded draw."""

    id: int
    """Index in the list of videos."""
    views: Tensor
    """(R, C, T, H, W), uint8, valid until the draw is dropped."""


class InlineTrainLoader:
    """Decodes each draw in this process when it is requested."""

    def __init__(self, decoder: ClipDecoder, plan: Plan, buffer: Tensor) -> None:
        self._decoder, self._plan, self._buffer = decoder, plan, buffer  # buffer (R, C, T, H, W)
        self._number, self._loaded = -1, Loaded(-1, buffer)

    def get(self, number: int) -> Loaded:
        """Return the draw at this place; the plan replaces unreadable videos."""
        if number != self._number:
            self._number, cut = -1, self._plan.cut(number)
            while self._number != number:
                try:
                    cut.make(self._decoder, self._buffer)
                    self._number = number
                except VideoReadError as err:
                    cut = self._plan.replace(number, cut, str(err))
            self._loaded = Loaded(cut.video(self._decoder), self._buffer)
        return self._loaded

    def drop_before(self, number: int) -> None:
        """No-op: one draw is held at a time."""

    def prefetch(self, until: int) -> None:
        """No-op: there are no workers."""

    def reset(self) -> None:
        """Drop the decoded draw."""
        self._number = -1

    def close(self) -> None:
        """No-op: there are no workers."""


class _Task(NamedTuple):
    number: int
    cut: TrainCut
    slot: int


class PrefetchTrainLoader:
    """Decodes draws ahead of time in worker processes.

    Args:
        decoder: Decodes the clips.
        plan: Gives the draws and replaces unreadable videos.
        slots: Most draws held at once, decoded or in progress.
        shape: Shape of the views of one draw, (R, C, T, H, W).
    """

    def __init__(self, decoder: ClipDecoder, plan: Plan, slots: int, shape: tuple[int, ...]) -> None:
        self._decoder, self._plan = decoder, plan
        self._buffer = SharedBuffer((slots, *shape))
        self._free = deque(range(slots))
        self._loaded: dict[int, tuple[int, int]] = {}  # number of a draw -> slot, id
        self._in_progress: dict[int, _Task] = {}  # by ticket
        self._abandoned: dict[int, int] = {}  # ticket -> slot
        self._tickets = 0
        self._next: int | None = None  # the first draw that is neither loaded nor in progress
        self._pool = start_workers(decoder, self._buffer)

    def get(self, number: int) -> Loaded:
        """See `InlineTrainLoader.get`; draws must be requested in order, until `reset`."""
        self._next = number if self._next is None else self._next
        while number not in self._loaded:
            self.prefetch(number + 1)
            self._receive()
        slot, id_ = self._loaded[number]
        return Loaded(id_, self._buffer.views[slot])

    def drop_before(self, number: int) -> None:
        """Free the slots of the draws before this one."""
        for done in [done for done in self._loaded if done < number]:
            self._free.append(self._loaded.pop(done)[0])

    def prefetch(self, until: int) -> None:
        """Start decoding the draws before `until`, as far as slots are free."""
        while self._next is not None and self._next < until and self._free:
            self._submit(_Task(self._next, self._plan.cut(self._next), self._free.popleft()))
            self._next += 1

    def reset(self) -> None:
        """Drop all draws, decoded or in progress; the next request may be for any draw."""
        self._abandoned |= {ticket: task.slot for ticket, task in self._in_progress.items()}
        self._in_progress.clear()
        self._free.extend(slot for slot, _ in self._loaded.values())
        self._loaded.clear()
        self._next = None

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()
        self._buffer.close()

    def _submit(self, task: _Task) -> None:
        self._tickets += 1
        self._in_progress[self._tickets] = task
        self._pool.submit(self._tickets, (task.cut, task.slot))

    def _receive(self) -> None:
        """Wait for one answer of the workers and process it."""
        ticket, result = self._pool.next()
        if ticket in self._abandoned:
            self._free.append(self._abandoned.pop(ticket))
            return
        task = self._in_progress.pop(ticket)
        video = task.cut.video(self._decoder)
        if not isinstance(result, TaskFailure):
            self._loaded[task.number] = task.slot, video
            return
        try:
            next_cut = self._plan.replace(task.number, task.cut, result.cause_at(self._decoder.path(video)))
        except BaseException:
            self._free.append(task.slot)
            raise
        self._submit(task._replace(cut=next_cut))
