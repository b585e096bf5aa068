"""A batch of clips as the stream yields it, with ids, labels and positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipBatch:
    """Clips with their ids, labels and positions."""

    pixels: Tensor
    """(B, C, T, H, W), uint8."""
    ids: Tensor
    """Indices in the list of videos (B,), int64."""
    labels: Tensor
    """Classes (B,), int64; -1 where unknown."""
    positions: Tensor
    """Positions in the stream (B,), int64, from which `ClipStream.again` finds clips; -1 for clips read by their id."""
    missing: tuple[int, ...] = ()
    """Ids of unreadable videos that `ClipStream.each` met before these clips."""

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, rows: Sequence[int]) -> "ClipBatch":
        """Copy the clips in these rows."""
        return ClipBatch(self.pixels[rows], self.ids[rows], self.labels[rows], self.positions[rows])

    @classmethod
    def around(cls, pixels: Tensor) -> "ClipBatch":
        """Wrap pixels that are still to be written, with empty ids, labels and positions."""
        return cls(pixels, *torch.empty(3, len(pixels), dtype=torch.int64))
