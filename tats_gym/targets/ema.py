"""The target `ema`: features of the moving average of the encoder's own weights (V-JEPA, arXiv 2404.08471)."""

from dataclasses import dataclass

import torch
from torch import nn

from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAEConfig
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.targets.features import Features
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """Momentum of the average; the defaults are V-JEPA's."""

    start_momentum: float = 0.998
    """Weight of the old average at the first optimiser step."""
    end_momentum: float = 1.0
    """Weight of it at the end of the training; linear between."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, start_momentum="[0, 1]", end_momentum="[0, 1]")


class Ema(Features):
    """The features of an exponential moving average of the encoder, which begins as its copy; checkpoints hold it.

    No gradient reaches it. As in V-JEPA, a predictor (the decoder), the slow average and the absolute error work
    against a collapse to one vector, which `target_deviation` in the log would show.

    Args:
        grid: The clips' geometry.
        mae: Sizes of the encoder.
        config: Its momentum.
    """

    def __init__(self, grid: TokenGrid, mae: MAEConfig, config: EmaConfig | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            video = VideoEncoder(mae, grid)
        super().__init__(video, "ema", saved=True)
        self.config = config or EmaConfig()

    def start(self, mae: nn.Module) -> None:
        """Copy the encoder's weights."""
        weights = mae.state_dict()
        self.video.load_state_dict({name: weights[name] for name in self.video.state_dict()})

    @torch.no_grad()
    def after_step(self, mae: nn.Module, progress: float) -> None:
        """Move towards the encoder's weights, by a share that falls linearly."""
        first, last = self.config.start_momentum, self.config.end_momentum
        momentum = first + progress * (last - first)
        averages = self.video.state_dict()
        for name, weights in mae.named_parameters():
            if name in averages:
                averages[name].mul_(momentum).add_(weights, alpha=1 - momentum)
