"""Position embeddings: VideoMAE's fixed sinusoid, learned times and places, or a table."""

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.tokens import GridShape

PosEmbedKind = Literal["sinusoid", "learned", "table"]


class SinusoidPosEmbed(nn.Module):
    """The fixed 1-D sine and cosine embeddings of VideoMAE; not in the state dict."""

    table: Tensor

    def __init__(self, grid_shape: GridShape, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoid(math.prod(grid_shape), width), persistent=False)

    def forward(self) -> Tensor:
        """Return (L, D)."""
        return self.table


LEARNED_STD = 0.5
"""Standard deviation with which the sum of both learned vectors starts with the sinusoid's energy."""


class LearnedPosEmbed(nn.Module):
    """A trainable vector for every time plus one for every place, as in MAE-ST.

    They start at random, so that places differ from the first step: a sinusoid over a few dozen tokens is nearly the
    same vector everywhere.

    Args:
        grid_shape: (t, h, w).
        width: D.
        std: Initial standard deviation of either vector's elements.
    """

    def __init__(self, grid_shape: GridShape, width: int, std: float = LEARNED_STD) -> None:
        super().__init__()
        times, height, across = grid_shape
        self.time = nn.Parameter(std * torch.randn(times, 1, width))
        self.place = nn.Parameter(std * torch.randn(1, height * across, width))

    def forward(self) -> Tensor:
        """Return (L, D)."""
        return (self.time + self.place).flatten(0, 1)


class TablePosEmbed(nn.Module):
    """A fixed vector for every token, stored in the state dict: interpolated from another grid."""

    table: Tensor

    def __init__(self, grid_shape: GridShape, width: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoid(math.prod(grid_shape), width))

    def forward(self) -> Tensor:
        """Return (L, D)."""
        return self.table


POS_EMBEDS = {"sinusoid": SinusoidPosEmbed, "learned": LearnedPosEmbed, "table": TablePosEmbed}


def sinusoid(length: int, width: int) -> Tensor:
    """Return the fixed 1-D sine (even) and cosine (odd columns) position embeddings (L, D) of VideoMAE."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    column = torch.arange(width, dtype=torch.float64)
    angle = position / 10_000 ** (2 * (column // 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


def interpolate_table(table: Tensor, old: GridShape, new: GridShape) -> Tensor:
    """Interpolate a table (L, D) from one grid to another, linearly along time, height and width."""
    t, h, w = old
    volume = rearrange(table, "(t h w) d -> 1 d t h w", t=t, h=h, w=w)
    volume = F.interpolate(volume, size=new, mode="trilinear", align_corners=False)
    return rearrange(volume, "1 d t h w -> (t h w) d").contiguous()


def interpolate_learned(time: Tensor, place: Tensor, old: GridShape, new: GridShape) -> tuple[Tensor, Tensor]:
    """Interpolate vectors of times (t, 1, D) linearly, and of places (1, h * w, D) bicubically, to another grid."""
    line = rearrange(time, "t 1 d -> 1 d t")
    line = F.interpolate(line, size=new[0], mode="linear", align_corners=False)
    plane = rearrange(place, "1 (h w) d -> 1 d h w", h=old[1])
    plane = F.interpolate(plane, size=new[1:], mode="bicubic", align_corners=False)
    return rearrange(line, "1 d t -> t 1 d").contiguous(), rearrange(plane, "1 d h w -> 1 (h w) d").contiguous()
