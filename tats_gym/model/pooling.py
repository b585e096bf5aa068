"""Pools the features of a clip's tokens to one vector."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from einops import rearrange, reduce
from torch import Tensor

from tats_gym.tokens import GridShape

Pool = Literal["mean", "change", "frames", "tokens"]
POOLS: Mapping[Pool, Callable[[Tensor, GridShape], Tensor]] = MappingProxyType(
    {
        "mean": lambda tokens, _: tokens.mean(1),
        "change": lambda tokens, grid: (
            rearrange(tokens, "b (t n) d -> b t n d", t=grid[0]).std(1, correction=0).mean(1)
        ),
        "frames": lambda tokens, grid: reduce(tokens, "b (t n) d -> b (t d)", "mean", t=grid[0]),
        "tokens": lambda tokens, _: rearrange(tokens, "b l d -> b (l d)"),
    }
)
"""Map tokens (B, L, D) and the grid's (t, h, w) to one vector per clip: (B, D), (B, D), (B, t * D), (B, L * D)."""
