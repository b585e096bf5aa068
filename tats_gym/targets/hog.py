"""The target `hog`: histograms of oriented gradients (MaskFeat, arXiv 2112.09133)."""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from tats_gym.model.target import Target, take
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import CHANNELS, TokenGrid


@dataclass(frozen=True, kw_only=True)
class HogConfig:
    """Settings of the histograms; the defaults are MaskFeat's."""

    bins: int = 9
    """Orientations, over half a turn: opposite gradients count as one."""
    cell_size: int = 8
    """Height and width of a histogram's cell in pixels; must divide the patch size."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, bins="[1, inf)", cell_size="[1, inf)")


class Hog(Target):
    """The histograms of all cells of a token, in each frame and colour, each of length 1.

    A departure: MaskFeat predicts those of one frame of a tubelet. Here a token stands for all its frames, as with the
    target pixels, so that its error also tells how well their motion is known.

    Args:
        grid: The clips' geometry.
        config: Settings of the histograms.

    Raises:
        ValueError: If the cells do not divide a patch.
    """

    def __init__(self, grid: TokenGrid, config: HogConfig | None = None) -> None:
        config = config or HogConfig()
        size = config.cell_size
        if grid.patch_size % size:
            raise ValueError(f"target hog has cells of {size} pixels, which must divide patch_size {grid.patch_size}")
        cells = (grid.patch_size // size) ** 2
        super().__init__(grid.tubelet_size * cells * CHANNELS * config.bins, "hog")
        self.grid, self.config = grid, config

    def forward(self, patches: Tensor, ids_hidden: Tensor) -> Tensor:
        """Return the histograms (B * G, M, P) of hidden tokens; P ordered frame, row, column, channel, bin."""
        histogram = histograms(self.grid.join(patches).float(), self.config)  # (B, C, T, H / cell, W / cell, bins)
        p0, p1 = self.grid.tubelet_size, self.grid.patch_size // self.config.cell_size
        pattern = "b c (t p0) (h p1) (w p2) n -> b (t h w) (p0 p1 p2 c n)"
        return take(rearrange(histogram, pattern, p0=p0, p1=p1, p2=p1), ids_hidden)


def histograms(images: Tensor, config: HogConfig) -> Tensor:
    """Return the histogram of each cell of images (..., H, W): (..., H / cell, W / cell, bins), each of length 1.

    Gradients are central differences, zero at the border. Each adds its magnitude to the bin of its direction. A cell
    without gradients has zeros.
    """
    across = F.pad(images[..., 2:] - images[..., :-2], (1, 1))
    down = F.pad(images[..., 2:, :] - images[..., :-2, :], (0, 0, 1, 1))
    magnitude = (across.square() + down.square()).sqrt()
    half_turns = torch.atan2(down, across) / math.pi  # in [-1, 1]; half a turn further is the same orientation
    bins = (half_turns * config.bins).floor().remainder(config.bins)
    size = config.cell_size
    counts = [
        rearrange(torch.where(bins == number, magnitude, 0), "... (h a) (w b) -> ... h a w b", a=size, b=size).sum(
            (-3, -1)
        )
        for number in range(config.bins)
    ]
    return F.normalize(torch.stack(counts, dim=-1), dim=-1)
