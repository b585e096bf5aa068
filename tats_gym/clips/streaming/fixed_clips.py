"""A stream of clips that stay as they are: the centre view of every video, kept in memory."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.clips.batch import ClipBatch
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.streaming.stream import ClipStream

VARYING = ("crop", "crop_scale", "flip", "randaug", "erase", "repeats")
"""Settings that draw other views of a video from epoch to epoch."""


class FixedClips(ClipStream):
    """An endless stream of the centre views of a dataset's videos, which lie in memory, shuffled anew each epoch.

    The clip at a position depends on the seed and the epoch alone. All videos are decoded once, when the first clip is
    taken.

    Args:
        config: See `ClipStream`.
        settings: See `ClipStream`.

    Raises:
        ValueError: If a setting asks for other views of a video.
        MissingDataError: If the dataset is not on the disk.
    """

    def __init__(self, config: ClipConfig, **settings: Any) -> None:
        for name in VARYING:
            if getattr(config, name) != getattr(ClipConfig, name):
                raise ValueError(
                    f"{name} varies clips, but these stay as they are, each the centre view of a video; leave it out, "
                    f"got {getattr(config, name)!r}"
                )
        super().__init__(config, **settings)

    @cached_property
    def pixels(self) -> Tensor:
        """The clips (V, C, T, H, W) of all V videos, uint8, by their id.

        Raises:
            VideoReadError: If a video cannot be read.
        """
        clips = super().centre(range(len(self.videos)))
        self.close()  # no more is decoded: workers may go
        return clips.pixels

    def take(self, count: int) -> ClipBatch:
        """Return the next `count` clips.

        Raises:
            ValueError: If the count is below 1.
            VideoReadError: If a video cannot be read.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        batch = self._at(np.arange(self.position, self.position + count))
        self.position += count
        return batch

    def again(self, positions: Sequence[int]) -> ClipBatch:
        """Return the clips that `take` returns at these positions of the current seed.

        Raises:
            IndexError: If a position is negative.
            VideoReadError: If a video cannot be read.
        """
        if len(positions) and min(positions) < 0:
            raise IndexError(f"positions must not be negative, got {min(positions)}")
        return self._at(np.asarray(positions, dtype=np.int64))

    def centre(self, ids: Sequence[int]) -> ClipBatch:
        """Return the clips of the videos `ids`; raises as `views` does."""
        self._check_ids(ids)
        chosen = torch.tensor(ids, dtype=torch.int64)
        return self._of(chosen, torch.full_like(chosen, -1))

    def _at(self, positions: NDArray[np.int64]) -> ClipBatch:
        return self._of(torch.from_numpy(self._plan.videos(positions)), torch.from_numpy(positions))

    def _of(self, ids: Tensor, positions: Tensor) -> ClipBatch:
        return ClipBatch(self.pixels.index_select(0, ids), ids, self._labels[ids], positions)
