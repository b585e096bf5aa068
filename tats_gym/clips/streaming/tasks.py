"""Cuts, the tasks of decoding: views of a random training window, or the test views of a video."""

from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from tats_gym.clips.decoder import ClipDecoder, Draw, Views
from tats_gym.clips.workers.pool import WorkerPool
from tats_gym.clips.workers.shared_memory import SharedBuffer


class Cut(Protocol):
    """The clips to cut from one video; picklable."""

    @property
    def count(self) -> int:
        """Number of clips."""
        ...

    def video(self, decoder: ClipDecoder) -> int:
        """Return the id of the video."""
        ...

    def make(self, decoder: ClipDecoder, out: Tensor) -> None:
        """Write the clips into `out` (count, C, T, H, W); raises VideoReadError if the video cannot be read."""
        ...


@dataclass(frozen=True)
class TrainCut:
    """The first `count` views of a random window, from the video of this attempt."""

    draw: Draw
    """The draw that is decoded."""
    attempt: int
    """Number of videos tried before."""
    count: int
    """Views that are cut from its window."""

    @property
    def next_attempt(self) -> "TrainCut":
        """The same cut from the video of the next attempt."""
        return replace(self, attempt=self.attempt + 1)

    def video(self, decoder: ClipDecoder) -> int:
        """See `Cut.video`."""
        return decoder.id(self.draw, self.attempt)

    def make(self, decoder: ClipDecoder, out: Tensor) -> None:
        """See `Cut.make`."""
        decoder.draw(self.draw, self.attempt, out)


@dataclass(frozen=True)
class EvalCut:
    """The test views of a video."""

    id: int
    """Index in the list of videos."""
    views: Views
    """The test views."""

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


class _CutWriter:
    """The function of the workers: writes a cut into its slot of the shared memory."""

    def __init__(self, decoder: ClipDecoder, buffer: SharedBuffer) -> None:
        self.decoder, self.buffer = decoder, buffer

    def __call__(self, task: tuple[Cut, int]) -> None:
        cut, slot = task
        cut.make(self.decoder, self.buffer.views[slot, : cut.count])


def start_workers(decoder: ClipDecoder, buffer: SharedBuffer) -> WorkerPool:
    """Start workers, by the decoder's settings, for tasks (cut, slot): a slot of the shared memory holds one cut."""
    config = decoder.config
    return WorkerPool(
        _CutWriter(decoder, buffer),
        config.num_workers,
        time_limit_s=config.time_limit_s,
        memory_limit_mib=config.memory_limit_mib + config.cache_mib,
        pass_fds=(buffer.fd,),
    )
