"""Where a token lies, as a vector added to it: VideoMAE's fixed sinusoid, or learned places and times."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

PositionKind = Literal["sinusoid", "learned"]


class SinusoidPositions(nn.Module):
    """The fixed 1-D sine and cosine positions of VideoMAE; no part of the weights."""

    table: Tensor

    def __init__(self, grid_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoid(math.prod(grid_shape), width), persistent=False)

    def forward(self) -> Tensor:
        """Return (L, D)."""
        return self.table


class LearnedPositions(nn.Module):
    """A trainable vector for every time plus one for every place, as in MAE-ST.

    They start at random, so that different places are told apart from the first step: a sinusoid over a few dozen
    tokens is nearly the same vector everywhere.

    Args:
        grid_shape: (t, h, w).
        width: D.
        std: Of either vector's elements at the start; the default gives their sum the sinusoid's energy.
    """

    def __init__(self, grid_shape: tuple[int, int, int], width: int, std: float = 0.5) -> None:
        super().__init__()
        times, height, across = grid_shape
        self.time = nn.Parameter(std * torch.randn(times, 1, width))
        self.place = nn.Parameter(std * torch.randn(1, height * across, width))

    def forward(self) -> Tensor:
        """Return (L, D)."""
        return (self.time + self.place).flatten(0, 1)


POSITIONS = {"sinusoid": SinusoidPositions, "learned": LearnedPositions}


def sinusoid(length: int, width: int) -> Tensor:
    """Return the fixed 1-D sine (even) and cosine (odd columns) positions (L, D) of VideoMAE."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    column = torch.arange(width, dtype=torch.float64)
    angle = position / 10_000 ** (2 * (column // 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()
