"""Trains a probe's network by AdamW, whose learning rate a cosine brings to zero."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Yields an epoch's batches, inputs and targets, at each call."""


def train_by_adamw(
    groups: Iterable[Tensor] | list[dict[str, Any]],
    batches: Batches,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    epochs: int,
    steps: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Take a step on the loss of each batch.

    Args:
        groups: Weights, or AdamW's groups of them.
        batches: Yields an epoch's batches.
        loss: Maps the inputs and targets of a batch to its loss.
        epochs: Passes over the samples.
        steps: Batches of an epoch.
        learning_rate: At the first step.
        weight_decay: AdamW's, of weights whose group names none.
    """
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for _ in range(epochs):
        for inputs, targets in batches():
            value = loss(inputs, targets)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
