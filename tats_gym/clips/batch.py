"""Clips as a stream hands them out, with what is known of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipBatch:
    """Clips and what is known of them."""

    pixels: Tensor
    """(B, C, T, H, W), uint8."""
    ids: Tensor
    """Positions in the list of videos (B,), int64."""
    labels: Tensor
    """Classes (B,), int64; -1 where unknown."""
    positions: Tensor
    """Places in the stream (B,), int64, by which `ClipStream.again` finds clips; -1 for those asked for by their id."""
    missing: tuple[int, ...] = ()
    """Ids of videos that `ClipStream.each` came to on its way to these clips, and could not read."""

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, rows: Sequence[int]) -> "ClipBatch":
        """Copy the clips at these rows."""
        return ClipBatch(self.pixels[rows], self.ids[rows], self.labels[rows], self.positions[rows])

    @classmethod
    def around(cls, pixels: Tensor) -> "ClipBatch":
        """Around pixels that are yet to be written, with room for the rest."""
        return cls(pixels, *torch.empty(3, len(pixels), dtype=torch.int64))
