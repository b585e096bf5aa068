"""Training loaders: decode draws in order, inline or prefetched by workers, and replace unreadable videos."""

from collections import deque
from typing import NamedTuple

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder
from tats_gym.clips.plan import Plan
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.tasks import Drawn, cutters
from tats_gym.clips.workers.shared_memory import SharedRoom
from tats_gym.clips.workers.supervisor import TaskFailure


class Loaded(NamedTuple):
    """A decoded draw."""

    id: int
    views: Tensor
    """(R, C, T, H, W), uint8, valid until the draw is dropped."""


class Here:
    """Decodes each draw in this process when it is requested."""

    def __init__(self, decoder: ClipDecoder, plan: Plan, room: Tensor) -> None:
        self._decoder, self._plan, self._room = decoder, plan, room  # room (R, C, T, H, W)
        self._number, self._loaded = -1, Loaded(-1, room)

    def get(self, number: int) -> Loaded:
        """Return the draw at this place; the plan replaces unreadable videos."""
        if number != self._number:
            self._number, drawn = -1, self._plan.drawn(number)
            while self._number != number:
                try:
                    drawn.make(self._decoder, self._room)
                    self._number = number
                except VideoReadError as err:
                    drawn = self._plan.failed(number, drawn, str(err))
            self._loaded = Loaded(drawn.video(self._decoder), self._room)
        return self._loaded

    def drop_before(self, number: int) -> None:
        """Do nothing: one draw is held at a time."""

    def prefetch(self, until: int) -> None:
        """Do nothing: there are no workers."""

    def forget(self) -> None:
        """Drop the decoded draw."""
        self._number = -1

    def close(self) -> None:
        """Do nothing: there are no workers."""


class _UnderWay(NamedTuple):
    number: int
    drawn: Drawn
    slot: int


class Ahead:
    """Decodes draws ahead of time in worker processes.

    Args:
        decoder: Decodes the clips.
        plan: Gives the draws and replaces unreadable videos.
        slots: Most draws held at once, decoded or in progress.
        shape: Shape of the views of one draw, (R, C, T, H, W).
    """

    def __init__(self, decoder: ClipDecoder, plan: Plan, slots: int, shape: tuple[int, ...]) -> None:
        self._decoder, self._plan = decoder, plan
        self._room = SharedRoom((slots, *shape))
        self._free = deque(range(slots))
        self._loaded: dict[int, tuple[int, int]] = {}  # number of a draw -> slot, id
        self._under_way: dict[int, _UnderWay] = {}  # by ticket
        self._forgotten: dict[int, int] = {}  # ticket -> slot
        self._tickets = 0
        self._next: int | None = None  # the first draw that is neither loaded nor in progress
        self._pool = cutters(decoder, self._room)

    def get(self, number: int) -> Loaded:
        """See `Here.get`; draws must be requested in order, until `forget`."""
        self._next = number if self._next is None else self._next
        while number not in self._loaded:
            self.prefetch(number + 1)
            self._listen()
        slot, id_ = self._loaded[number]
        return Loaded(id_, self._room.views[slot])

    def drop_before(self, number: int) -> None:
        """Free the slots of the draws before this one."""
        for done in [done for done in self._loaded if done < number]:
            self._free.append(self._loaded.pop(done)[0])

    def prefetch(self, until: int) -> None:
        """Start decoding the draws before `until`, as far as slots are free."""
        while self._next is not None and self._next < until and self._free:
            self._begin(_UnderWay(self._next, self._plan.drawn(self._next), self._free.popleft()))
            self._next += 1

    def forget(self) -> None:
        """Drop all draws, decoded or in progress; the next request may be for any draw."""
        self._forgotten |= {ticket: task.slot for ticket, task in self._under_way.items()}
        self._under_way.clear()
        self._free.extend(slot for slot, _ in self._loaded.values())
        self._loaded.clear()
        self._next = None

    def close(self) -> None:
        """Stop the workers."""
        self._pool.close()
        self._room.close()

    def _begin(self, task: _UnderWay) -> None:
        self._tickets += 1
        self._under_way[self._tickets] = task
        self._pool.submit(self._tickets, (task.drawn, task.slot))

    def _listen(self) -> None:
        """Wait for one answer of the workers and process it."""
        ticket, result = self._pool.next()
        if ticket in self._forgotten:
            self._free.append(self._forgotten.pop(ticket))
            return
        task = self._under_way.pop(ticket)
        video = task.drawn.video(self._decoder)
        if not isinstance(result, TaskFailure):
            self._loaded[task.number] = task.slot, video
            return
        try:
            following = self._plan.failed(task.number, task.drawn, result.cause_at(self._decoder.path(video)))
        except BaseException:
            self._free.append(task.slot)
            raise
        self._begin(task._replace(drawn=following))
