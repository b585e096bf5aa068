"""Cuts as tasks: the clips of a window that was drawn, or a video as a test looks at it; done here or in a worker."""

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder, Draw, Views
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.shared_memory import SharedRoom


class Cut(Protocol):
    """What is cut from one video; picklable."""

    @property
    def count(self) -> int:
        """Clips that it makes."""
        ...

    def video(self, decoder: ClipDecoder) -> int:
        """The id of the video."""
        ...

    def make(self, decoder: ClipDecoder, out: Tensor) -> None:
        """Cut into `out` (count, C, T, H, W); raises VideoReadError where the video cannot be read."""
        ...


@dataclass(frozen=True)
class Drawn:
    """The first `count` views of a window that is drawn, from the video of this attempt."""

    draw: Draw
    attempt: int
    """How many videos were tried before."""
    count: int

    @property
    def following(self) -> "Drawn":
        """The same from the video that is tried next."""
        return replace(self, attempt=self.attempt + 1)

    def video(self, decoder: ClipDecoder) -> int:
        """See `Cut.video`."""
        return decoder.id(self.draw, self.attempt)

    def make(self, decoder: ClipDecoder, out: Tensor) -> None:
        """See `Cut.make`."""
        decoder.draw(self.draw, self.attempt, out)


@dataclass(frozen=True)
class Shown:
    """The views of a video that a test looks at."""

    id: int
    views: Views

    @property
    def count(self) -> int:
        """See `Cut.count`."""
        return self.views.count

    def video(self, decoder: ClipDecoder) -> int:
        """See `Cut.video`."""
        return self.id

    def make(self, decoder: ClipDecoder, out: Tensor) -> None:
        """See `Cut.make`."""
        decoder.views(self.id, self.views, out)


class _Cutter:
    """What a worker does: a cut goes into its slot of the room."""

    def __init__(self, decoder: ClipDecoder, room: SharedRoom) -> None:
        self.decoder, self.room = decoder, room

    def __call__(self, task: tuple[Cut, int]) -> None:
        cut, slot = task
        cut.make(self.decoder, self.room.views[slot, : cut.count])


def cutters(decoder: ClipDecoder, room: SharedRoom) -> WorkerPool:
    """Workers, as the decoder's settings say, that do tasks (cut, slot): a slot of the room holds a cut's clips."""
    config = decoder.config
    return WorkerPool(
        _Cutter(decoder, room),
        config.num_workers,
        time_limit_s=config.time_limit_s,
        memory_limit_mib=config.memory_limit_mib + config.cache_mib,
        pass_fds=(room.fd,),
    )
