"""Trains a probe's network by AdamW, whose learning rate a cosine brings to zero."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Yields an epoch's batches, inputs and targets, at each call."""


class AdamWConfig(Protocol):
    """The settings that a probe's own must have."""

    @property
    def epochs(self) -> int:
        """Passes over the samples."""

    @property
    def batch_size(self) -> int:
        """Samples in a step; the last step of a pass may have fewer."""

    @property
    def learning_rate(self) -> float:
        """AdamW's at the first step."""

    @property
    def weight_decay(self) -> float:
        """AdamW's."""


def train_by_adamw(
    groups: Iterable[Tensor] | list[dict[str, Any]],
    batches: Batches,
    loss: Callable[[Tensor, Tensor], Tensor],
    config: AdamWConfig,
    *,
    count: int,
) -> None:
    """Take a step on the loss of each batch.

    Args:
        groups: Weights, or AdamW's groups of them.
        batches: Yields an epoch's batches.
        loss: Maps the inputs and targets of a batch to its loss.
        config: The settings; its weight decay is of weights whose group names none.
        count: Samples of an epoch.
    """
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
    steps = math.ceil(count / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * steps)
    for _ in range(config.epochs):
        for inputs, targets in batches():
            value = loss(inputs, targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
