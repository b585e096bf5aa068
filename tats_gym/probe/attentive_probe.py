"""Attentive probe: a learned query looks at all tokens of a clip, and a linear layer tells the clip's class."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.model.block import MLP
from tats_gym.probe.adamw import Batches, train_by_adamw
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class AttentiveProbeConfig:
    """V-JEPA's frozen evaluation (arXiv 2404.08471): the settings of its published configurations for K400 and SSv2."""

    epochs: int = 20
    """Passes over the training clips; also the length of the cosine."""
    batch_size: int = 256
    """Clips in a step (published: 4 on each of 64 GPUs); the last step of a pass may have fewer."""
    learning_rate: float = 1e-3
    """AdamW's at the start; a cosine brings it to zero. The published configurations do not warm up."""
    weight_decay: float = 0.01
    """AdamW's; none on biases and norms."""
    num_heads: int | None = None
    """Heads of the attention, which must divide the width; None takes the encoder's number."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, epochs="[1, inf)", batch_size="[1, inf)")
        check_intervals(self, learning_rate="(0, inf)", weight_decay="[0, inf)")
        if self.num_heads is not None:
            check_intervals(self, num_heads="[1, inf)")


class AttentiveClassifier(nn.Module):
    """A block of cross-attention with one learned query, and a linear layer on its result.

    The tokens are normed and attended to by N heads, the query is added, then an MLP of four widths on the normed sum,
    which is added too. Every linear layer has a bias.

    Args:
        width: D.
        num_heads: N.
        num_classes: Classes.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(self, width: int, num_heads: int, num_classes: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads must divide the width {width} of the tokens, got {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.query, std=0.02)
        self.apply(_initialise)
        for last in (self.proj, self.mlp.fc2):  # the residual branches start smaller, as published
            last.weight.data.div_(math.sqrt(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to logits (B, classes)."""
        query = self.query.expand(len(tokens), -1, -1)  # (B, 1, D)
        q = self._by_head(self.q(query))  # (B, N, 1, D / N)
        k, v = (self._by_head(each) for each in self.kv(self.norm1(tokens)).chunk(2, dim=-1))  # (B, N, L, D / N)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, 1, D)
        pooled = query + self.proj(seen)
        pooled = pooled + self.mlp(self.norm2(pooled))
        logits: Tensor = self.head(pooled.squeeze(1))
        return logits

    def _by_head(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return heads

    @torch.no_grad()
    def probabilities(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to class probabilities (B, classes)."""
        probabilities: Tensor = self(tokens).softmax(1)
        return probabilities

    def groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups of the weights: biases and norms do not decay, the query does."""
        vectors = [value for value in self.parameters() if value.ndim == 1]
        return [
            {"params": [value for value in self.parameters() if value.ndim > 1]},
            {"params": vectors, "weight_decay": 0.0},
        ]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def draw_classifier(width: int, num_heads: int, num_classes: int, *, seed: int) -> AttentiveClassifier:
    """Draw a classifier's first weights on the CPU; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return AttentiveClassifier(width, num_heads, num_classes)


def fit_attentive_probe(
    network: AttentiveClassifier, batches: Batches, config: AttentiveProbeConfig, *, count: int
) -> None:
    """Train a classifier.

    Args:
        network: The classifier, on the device of the tokens.
        batches: Yields the tokens (B, L, D) and classes (B,) of an epoch; at each call another epoch's.
        config: The settings.
        count: Clips of an epoch.
    """
    train_by_adamw(
        network.groups(),
        batches,
        lambda tokens, labels: F.cross_entropy(network(tokens), labels),
        config,
        count=count,
    )
