"""V-JEPA's masks (Bardes et al. 2024): blocks of a frame that are hidden at all times."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import BlindPolicy, FixedMasks, fixed_masks
from tats_gym.agents.requirements import with_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.settings.config_io import check_plain
from tats_gym.tokens import GridShape

BLOCKS = {"short": (8, 0.15), "long": (2, 0.7)}
"""Blocks of a mask, and the share of a frame in each: V-JEPA's short-range and long-range masks."""
ASPECT = (0.75, 1.5)
"""Lowest and highest ratio of a block's height to its width."""


@dataclass(frozen=True, kw_only=True)
class JEPAConfig:
    """The kind of mask."""

    blocks: Literal["short", "long", "both"] = "both"
    """short: 8 blocks of 15 % of a frame. long: 2 blocks of 70 %. both: either for each mask, with equal chances."""

    def __post_init__(self) -> None:
        check_plain(self)


def times_covered(
    height: int, width: int, batch_size: int, generator: torch.Generator | None, *, number: int, scale: float
) -> Tensor:
    """Draw blocks of equal size in a frame and count those that cover each place: (B, h * w).

    Args:
        height: Places in a column, h.
        width: Places in a row, w.
        batch_size: B.
        generator: Random generator.
        number: Blocks.
        scale: Share of the frame in a block.
    """
    low, high = ASPECT
    aspect = low + (high - low) * torch.rand(batch_size, 1, generator=generator)
    area = int(scale * height * width)
    inside = []
    for length, squared_side in ((height, area * aspect), (width, area / aspect)):
        side = squared_side.sqrt().round().clamp(1, length)  # (B, 1)
        start = (torch.rand(batch_size, number, generator=generator) * (length - side + 1)).floor()
        offset = torch.arange(length) - start[..., None]
        inside.append((offset >= 0) & (offset < side[..., None]))  # (B, number, length)
    rows, columns = inside
    return (rows[..., None] & columns[:, :, None]).sum(1).flatten(1)


class JEPAPolicy(BlindPolicy):
    """Hides blocks of the frame at all times, and shows K tokens of the places that the fewest blocks cover.

    Source: "Revisiting Feature Prediction for Learning Visual Representations from Video" (arXiv 2404.08471), whose
    masks show the complement of the blocks, however large it is. K is fixed here. Where more tokens are uncovered,
    random places of them are shown; where fewer are, all of them, then places that one block covers, and so on. A place
    is shown at all times, except that the last one fills up K at random times.

    Further departures: each mask draws its block size, which there is the same for a batch; a mask is of one kind,
    where there each clip is predicted under one of each; all hidden tokens are predicted, not only those in blocks.

    Args:
        config: The kind of mask.
        args: See `FixedPolicy`.
        kwargs: See `FixedPolicy`.
    """

    def __init__(self, *args: Any, config: JEPAConfig | None = None, **kwargs: Any) -> None:
        self.config = config or JEPAConfig()
        super().__init__(*args, **kwargs)

    def rule(
        self, grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw visible tokens (B, K) of `batch_size` clips."""
        t, h, w = grid_shape
        covered = self._covered(h, w, batch_size, generator)  # (B, h * w)
        order = covered + torch.rand(batch_size, h * w, generator=generator)
        rank = order.argsort(1).argsort(1)  # of each place, 0 is shown first
        times = torch.rand(batch_size, t, h * w, generator=generator)
        return (rank[:, None] + times).flatten(1).topk(num_visible, dim=1, largest=False).indices

    def _covered(self, height: int, width: int, batch_size: int, generator: torch.Generator | None) -> Tensor:
        kinds = ("short", "long") if self.config.blocks == "both" else (self.config.blocks,)
        counts = []
        for number, scale in (BLOCKS[kind] for kind in kinds):
            counts.append(times_covered(height, width, batch_size, generator, number=number, scale=scale))
        chosen = torch.randint(len(counts), (batch_size, 1), generator=generator)
        return torch.stack(counts).gather(0, chosen.expand(1, -1, height * width)).squeeze(0)


@with_settings(JEPAConfig)
def build_jepa(env: TokenSelectionVecEnv, config: PretrainConfig, settings: JEPAConfig) -> FixedMasks:
    """Make V-JEPA's masks."""
    return fixed_masks(JEPAPolicy, env, config, settings)
