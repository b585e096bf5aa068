"""Running cell masks (Qing et al. 2022; VideoMAE V2): a pattern that moves on by a place from tubelet to tubelet."""

import math

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import BlindPolicy, FixedMasks, fixed_masks
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.tokens import GridShape


def cell_side(num_tokens: int, num_visible: int) -> int:
    """Return the side of the smallest cell, 2 x 2 or larger, that holds a visible token in each tubelet."""
    return max(2, math.isqrt(math.ceil(num_tokens / num_visible) - 1) + 1)


def cell_ids(
    grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Show the same places of every cell of the frame, shifted by one from tubelet to tubelet: (B, K).

    The places of a cell are counted row by row, from one that is drawn for each clip. Every cell shows its first
    places, as many as fit in K, and random cells the one after them, which makes K exact.
    """
    t, h, w = grid_shape
    side = cell_side(t * h * w, num_visible)
    rows, columns = torch.arange(h)[:, None] % side, torch.arange(w) % side
    places = (side * rows + columns).flatten()  # (h * w,) within the cell
    phases = (places + torch.arange(t)[:, None]).flatten()  # (L,)
    start = torch.randint(side**2, (batch_size, 1), generator=generator)
    order = (phases + start) % side**2 + torch.rand(batch_size, t * h * w, generator=generator)
    return order.topk(num_visible, dim=1, largest=False).indices


class CellPolicy(BlindPolicy):
    """Shows running cells.

    Source: MAR (arXiv 2207.11660), whose encoder sees such cells, and the decoder masks of VideoMAE V2 (arXiv
    2303.16727): 2 x 2 cells that show half of their places, so that no place stays hidden for more than two tubelets.
    Departure: where K is below a quarter of the tokens, the cells are larger, and may be cut off at the frame's border.
    """

    rule = staticmethod(cell_ids)


def build_cell(env: TokenSelectionVecEnv, config: PretrainConfig) -> FixedMasks:
    """Make running cells."""
    return fixed_masks(CellPolicy, env, config)
