"""Attentive decoder of numbers, such as coordinates in games; for classes see `tats_gym.probe.attentive_probe`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.probe.adamw import train_by_adamw
from tats_gym.probe.standardise import mean_and_std
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class AttentiveDecoderConfig:
    """Size and training of the decoder; ours."""

    num_heads: int = 4
    """Queries of each target."""
    epochs: int = 30
    """Passes over the training samples; also the length of the cosine."""
    batch_size: int = 64
    """Samples in a step; the last step of a pass may have fewer."""
    learning_rate: float = 2e-2
    """AdamW's at the start; a cosine brings it to zero."""
    weight_decay: float = 0.05
    """AdamW's."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, num_heads="[1, inf)", epochs="[1, inf)", batch_size="[1, inf)")
        check_intervals(self, learning_rate="(0, inf)", weight_decay="[0, inf)")


class CrossAttention(nn.Module):
    """Attends to n tokens on a square with learned queries, and reads each target linearly off its queries' means.

    Row and column of a token, in [-1, 1], are appended to it. The projections of keys and values are part of the
    queries and of the linear layer: of a single block with learned queries they are one product each.

    Args:
        num_tokens: n, a square number.
        width: D.
        num_targets: Numbers to decode.
        num_heads: Queries of each target.
    """

    places: Tensor

    def __init__(self, num_tokens: int, width: int, num_targets: int, num_heads: int) -> None:
        super().__init__()
        line = torch.linspace(-1, 1, math.isqrt(num_tokens))
        self.register_buffer("places", torch.cartesian_prod(line, line))  # (n, 2)
        self.queries = nn.Parameter(0.1 * torch.randn(num_targets, num_heads, width + 2))
        self.weight = nn.Parameter(torch.zeros(num_targets, num_heads, width + 2))
        self.bias = nn.Parameter(torch.zeros(num_targets))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (E, n, D) to predictions (E, targets)."""
        places = self.places.expand(len(tokens), -1, -1)
        x = torch.cat((tokens, places), dim=-1)  # (E, n, D + 2)
        attention = torch.einsum("end,qhd->eqhn", x, self.queries).softmax(-1)
        seen = torch.einsum("eqhn,end->eqhd", attention, x)
        return torch.einsum("eqhd,qhd->eq", seen, self.weight) + self.bias


@dataclass(frozen=True)
class AttentiveDecoder:
    """A trained decoder."""

    network: CrossAttention
    tokens: tuple[Tensor, Tensor]
    """Mean and std (n, D) of the training tokens; to standardise each place removes the still background."""
    targets: tuple[Tensor, Tensor]
    """Mean and std of the training targets (targets,)."""

    def predict(self, tokens: Tensor) -> Tensor:
        """Return predictions (E, targets) for tokens (E, n, D)."""
        mean, std = self.targets
        with torch.no_grad():
            parts = [self.network(_scaled(part, self.tokens)) for part in tokens.split(256)]
        return torch.cat(parts).double() * std + mean


def fit_attentive_decoder(
    tokens: Tensor, targets: Tensor, config: AttentiveDecoderConfig, *, seed: int = 0
) -> AttentiveDecoder:
    """Train on tokens (E, n, D) with numbers (E, targets), none of them constant, by the squared error.

    Both are standardised. The global random state is left alone.
    """
    of_tokens, of_targets = mean_and_std(tokens), mean_and_std(targets)
    x, y = _scaled(tokens, of_tokens), _scaled(targets, of_targets)
    count, num_tokens, width = tokens.shape
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # weights are drawn on the CPU
        network = CrossAttention(num_tokens, width, targets.shape[1], config.num_heads).to(tokens.device)
    generator = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.randperm(count, generator=generator).to(tokens.device).split(config.batch_size):
            yield x[rows], y[rows]

    train_by_adamw(
        network.parameters(),
        batches,
        lambda inputs, wanted: F.mse_loss(network(inputs), wanted),
        config,
        count=count,
    )
    return AttentiveDecoder(network.eval(), of_tokens, of_targets)


def _scaled(values: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
    mean, std = by
    return ((values.double() - mean) / std).float()
