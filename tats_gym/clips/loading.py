"""Decodes draws in order, in this process or ahead of time in workers, and replaces what cannot be read."""

import mmap
import os
import tempfile
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.clips.decoding import ClipDecoder, Draw
from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.workers import Lost, WorkerPool


class Plan(Protocol):
    """Where the loaders learn what to decode."""

    def draw(self, number: int) -> tuple[Draw, int]:
        """What is drawn at this place, and the attempt to begin with."""
        ...

    def failed(self, number: int, attempt: int, cause: str) -> None:
        """Take note that an attempt failed; raises where there should not be another one."""
        ...


class Loaded(NamedTuple):
    """A draw that is decoded."""

    id: int
    views: Tensor
    """(R, C, T, H, W) uint8, valid until it is dropped."""


class Here:
    """Decodes each draw when it is asked for."""

    def __init__(self, decoder: ClipDecoder, plan: Plan, room: Tensor) -> None:
        self._decoder, self._plan, self._room = decoder, plan, room  # room (R, C, T, H, W)
        self._number, self._loaded = -1, Loaded(-1, room)

    def get(self, number: int) -> Loaded:
        """Return the draw at this place; a video that cannot be read is replaced as the plan says."""
        if number != self._number:
            draw, attempt = self._plan.draw(number)
            while True:
                try:
                    self._number, self._loaded = -1, Loaded(self._decoder.draw(draw, attempt, self._room), self._room)
                    break
                except VideoReadError as err:
                    self._plan.failed(number, attempt, str(err))
                    attempt += 1
            self._number = number
        return self._loaded

    def drop_before(self, number: int) -> None:
        """Forget the draws before this one."""

    def prefetch(self, until: int) -> None:
        """Do nothing ahead."""

    def forget(self) -> None:
        """Forget what was decoded."""
        self._number = -1

    def centre(self, ids: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Return the centre views of videos, each (C, T, H, W)."""
        return [self._decoder.centre(id_) for id_ in ids]

    def close(self) -> None:
        """There is nothing to end."""


class _Room:
    """Memory that processes share without a name, so that nothing is left behind, and whatever /dev/shm allows."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("tats_gym clips")
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, int(np.prod(shape)))
        self._map()

    def _map(self) -> None:
        size = int(np.prod(self.shape))
        self.views = torch.frombuffer(mmap.mmap(self.fd, size), dtype=torch.uint8).view(self.shape)

    def __getstate__(self) -> tuple[int, tuple[int, ...]]:
        return self.fd, self.shape

    def __setstate__(self, state: tuple[int, tuple[int, ...]]) -> None:
        self.fd, self.shape = state
        self._map()

    def close(self) -> None:
        os.close(self.fd)


class _Decode:
    """What a worker does: a draw goes into its slot of the room, a centre view comes back."""

    def __init__(self, decoder: ClipDecoder, room: _Room) -> None:
        self.decoder, self.room = decoder, room

    def __call__(self, task: "int | tuple[Draw, int, int]") -> Any:
        if isinstance(task, int):
            return self.decoder.centre(task)
        draw, attempt, slot = task
        return self.decoder.draw(draw, attempt, self.room.views[slot])


class _UnderWay(NamedTuple):
    number: int
    draw: Draw
    attempt: int
    slot: int


class Ahead:
    """Decodes in worker processes, ahead of what is asked for.

    Args:
        decoder: Makes the clips.
        plan: Says what comes when.
        slots: Draws that are kept at most, decoded or under way.
        shape: Of the views of one draw, (R, C, T, H, W).
        num_workers: Processes.
        time_limit_s: See `WorkerPool`.
        memory_limit_mib: See `WorkerPool`.
    """

    def __init__(
        self,
        decoder: ClipDecoder,
        plan: Plan,
        slots: int,
        shape: tuple[int, ...],
        *,
        num_workers: int,
        time_limit_s: float,
        memory_limit_mib: int,
    ) -> None:
        self._decoder, self._plan = decoder, plan
        self._room = _Room((slots, *shape))
        self._free = deque(range(slots))
        self._loaded: dict[int, tuple[int, int]] = {}  # number of a draw -> slot, id
        self._under_way: dict[int, _UnderWay] = {}  # ticket -> what
        self._centres: dict[int, NDArray[np.uint8] | Lost | None] = {}  # ticket -> what came
        self._forgotten: dict[int, int] = {}  # ticket -> slot
        self._tickets = 0
        self._next: int | None = None  # the first draw that is neither loaded nor under way
        self._pool = WorkerPool(
            _Decode(decoder, self._room),
            num_workers,
            time_limit_s=time_limit_s,
            memory_limit_mib=memory_limit_mib,
            pass_fds=(self._room.fd,),
        )

    def get(self, number: int) -> Loaded:
        """See `Here.get`; draws must be asked for in order, until `forget`."""
        self._next = number if self._next is None else self._next
        while number not in self._loaded:
            self.prefetch(number + 1)
            self._listen()
        slot, id_ = self._loaded[number]
        return Loaded(id_, self._room.views[slot])

    def drop_before(self, number: int) -> None:
        """Give the room of the draws before this one to others."""
        for done in [done for done in self._loaded if done < number]:
            self._free.append(self._loaded.pop(done)[0])

    def prefetch(self, until: int) -> None:
        """Begin with the draws before `until`, as far as there is room."""
        while self._next is not None and self._next < until and self._free:
            draw, attempt = self._plan.draw(self._next)
            self._begin(_UnderWay(self._next, draw, attempt, self._free.popleft()))
            self._next += 1

    def forget(self) -> None:
        """Drop what is decoded and under way: the next draw that is asked for may be any."""
        self._forgotten |= {ticket: task.slot for ticket, task in self._under_way.items()}
        self._under_way.clear()
        self._free.extend(slot for slot, _ in self._loaded.values())
        self._loaded.clear()
        self._next = None

    def centre(self, ids: Sequence[int]) -> list[NDArray[np.uint8]]:
        """See `Here.centre`."""
        tickets = []
        for id_ in ids:
            self._tickets += 1
            tickets.append(self._tickets)
            self._centres[self._tickets] = None
            self._pool.submit(self._tickets, id_)
        try:
            views = []
            for ticket, id_ in zip(tickets, ids, strict=True):
                while (found := self._centres[ticket]) is None:
                    self._listen()
                if isinstance(found, Lost):
                    raise VideoReadError(self._cause(id_, found))
                views.append(found)
            return views
        finally:
            for ticket in tickets:
                if self._centres.pop(ticket) is None:
                    self._forgotten[ticket] = -1

    def close(self) -> None:
        """End the workers."""
        self._pool.close()
        self._room.close()

    def _begin(self, task: _UnderWay) -> None:
        self._tickets += 1
        self._under_way[self._tickets] = task
        self._pool.submit(self._tickets, (task.draw, task.attempt, task.slot))

    def _listen(self) -> None:
        """Wait for one answer."""
        ticket, result = self._pool.next()
        if ticket in self._forgotten:
            slot = self._forgotten.pop(ticket)
            if slot >= 0:
                self._free.append(slot)
        elif ticket in self._centres:
            self._centres[ticket] = result
        else:
            task = self._under_way.pop(ticket)
            if not isinstance(result, Lost):
                self._loaded[task.number] = task.slot, result
                return
            try:
                tried = self._decoder.id(task.draw, task.attempt)
                self._plan.failed(task.number, task.attempt, self._cause(tried, result))
            except BaseException:
                self._free.append(task.slot)
                raise
            self._begin(task._replace(attempt=task.attempt + 1))

    def _cause(self, id_: int, lost: Lost) -> str:
        path = self._decoder.path(id_)
        return lost.cause if lost.cause.startswith(path) else f"{path}: {lost.cause}"
