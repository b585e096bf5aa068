"""Masks of green noise in space and time (Bhowmik et al. 2025): clusters of tokens that change smoothly over time."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.peers.fixed import BlindPolicy, FixedMasks, fixed_masks
from tats_gym.agents.requirements import with_settings
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import GridShape


@dataclass(frozen=True, kw_only=True)
class Green3DConfig:
    """The band of frequencies that the noise keeps; our reading, since the paper does not print its widths."""

    narrow: float = 1.0
    """Standard deviation of the weaker Gaussian blur, in tokens: takes out finer detail."""
    wide: float = 2.0
    """Standard deviation of the stronger blur, in tokens: its result is subtracted, which takes out larger shapes."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, narrow="[0, inf)", wide="(0, inf)")
        if self.narrow >= self.wide:
            raise ValueError(f"narrow must be below wide, got {self.narrow} and {self.wide}")


def green_noise(shape: GridShape, batch_size: int, generator: torch.Generator | None, config: Green3DConfig) -> Tensor:
    """Blur white noise by two Gaussians and return the difference: (B, t, h, w).

    The volume that is filtered is periodic, and larger than the part of it that is returned, so that opposite borders
    of that part are independent.
    """
    margin = math.ceil(4 * config.wide)
    volume = [length + margin for length in shape]
    white = torch.randn(batch_size, *volume, generator=generator)
    axes = (1, 2, 3)
    spectrum = torch.fft.rfftn(white, dim=axes) * _gain(volume, config)
    filtered: Tensor = torch.fft.irfftn(spectrum, s=volume, dim=axes)
    t, h, w = shape
    return filtered[:, :t, :h, :w]


def _gain(volume: list[int], config: Green3DConfig) -> Tensor:
    """Return the factor of each frequency: the difference of the transfer functions of two Gaussian blurs."""
    along_t, along_h = (torch.fft.fftfreq(length) for length in volume[:2])  # cycles a token
    along_w = torch.fft.rfftfreq(volume[2])
    squared = along_t[:, None, None] ** 2 + along_h[:, None] ** 2 + along_w**2
    narrow, wide = (torch.exp(-2 * (math.pi * width) ** 2 * squared) for width in (config.narrow, config.wide))
    return narrow - wide


class Green3DPolicy(BlindPolicy):
    """Shows the K tokens where green noise is highest, drawn anew for each mask.

    Source: Green3D noise of "Structured-Noise Masked Modeling for Video, Audio and Beyond" (arXiv 2503.16311), white
    noise through a band-pass in time, height and width, of which the highest values are visible, as in ColorMAE
    (arXiv 2407.13036). There, windows are cut out of a volume that was filtered once; here each mask has noise of its
    own, on the token grid.

    Args:
        config: The band.
        args: See `FixedPolicy`.
        kwargs: See `FixedPolicy`.
    """

    def __init__(self, *args: Any, config: Green3DConfig | None = None, **kwargs: Any) -> None:
        self.config = config or Green3DConfig()
        super().__init__(*args, **kwargs)

    def rule(
        self, grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw visible tokens (B, K) of `batch_size` clips."""
        noise = green_noise(grid_shape, batch_size, generator, self.config)
        return noise.flatten(1).topk(num_visible, dim=1).indices


@with_settings(Green3DConfig)
def build_green3d(env: TokenSelectionVecEnv, config: PretrainConfig, settings: Green3DConfig) -> FixedMasks:
    """Make masks of green noise."""
    return fixed_masks(Green3DPolicy, env, config, settings)
