"""One optimiser step after another: AdamW, schedule, accumulation over steps and processes, the finite check."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tats_gym.distributed import average_gradients

REFERENCE_BATCH = 256


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; no weight was changed by it."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """What every recipe says; its owner gives the defaults."""

    epochs: int
    """Passes over the training clips; also the length of the cosine."""
    warmup_epochs: int
    """Epochs over which the learning rate rises linearly; below `epochs`."""
    base_lr: float
    """Learning rate for a batch of 256 clips; scaled linearly with the real batch."""
    min_lr: float
    """Where the cosine ends, for a batch of 256 clips; scaled too."""
    betas: tuple[float, float]
    """AdamW's decay rates."""
    weight_decay: float = 0.05
    """AdamW's weight decay; none on biases, norms, positions and tokens."""
    accumulate: int = 1
    """Steps whose gradients are summed for one optimiser step."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.accumulate < 1:
            raise ValueError(f"epochs and accumulate must be at least 1, got {self.epochs} and {self.accumulate}")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must lie in [0, epochs), got {self.warmup_epochs} with epochs {self.epochs}; "
                "set both for a short run"
            )
        if self.base_lr <= 0 or self.min_lr < 0:
            raise ValueError(f"base_lr must be positive and min_lr not negative, got {self.base_lr}, {self.min_lr}")


class Optimizer:
    """Turns losses into optimiser steps.

    Args:
        of: What is trained, for messages.
        groups: AdamW's parameter groups; an `lr_scale` of a group multiplies its learning rate.
        config: The recipe.
        batch_size: Clips in one step, over all processes.
        steps_per_epoch: Steps that make one pass over the training clips.
    """

    def __init__(
        self, of: str, groups: list[dict[str, Any]], config: OptimConfig, *, batch_size: int, steps_per_epoch: int
    ) -> None:
        self.of, self.config = of, config
        scale = batch_size * config.accumulate / REFERENCE_BATCH
        self.lr, self.min_lr = config.base_lr * scale, min(config.min_lr, config.base_lr) * scale
        self.warmup_steps = max(1, config.warmup_epochs * steps_per_epoch // config.accumulate)
        self.total_steps = max(self.warmup_steps + 1, config.epochs * steps_per_epoch // config.accumulate)
        self.adamw = torch.optim.AdamW(groups, lr=self.lr, betas=config.betas, fused=True)
        self.steps = 0
        self._accumulated = 0

    def lr_at(self, step: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.min_lr + (self.lr - self.min_lr) * (1 + math.cos(math.pi * progress)) / 2

    def step(self, loss: Tensor) -> float:
        """Backpropagate one step's loss and, when enough are gathered, move the weights.

        Returns:
            The loss as a number.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite; gradients and weights are left alone.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the {self.of}'s loss is {value} at optimiser step {self.steps}; its weights were not changed. "
                "Resume from the last checkpoint with a lower base_lr, or in fp32"
            )
        (loss / self.config.accumulate).backward()
        self._accumulated += 1
        if self._accumulated == self.config.accumulate:
            for group in self.adamw.param_groups:
                group["lr"] = self.lr_at(self.steps) * group.get("lr_scale", 1.0)
            average_gradients([p for group in self.adamw.param_groups for p in group["params"]])
            self.adamw.step()
            self.adamw.zero_grad(set_to_none=True)
            self.steps += 1
            self._accumulated = 0
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state and the step count; gradients gathered for an unfinished step are not part of it."""
        return {"adamw": self.adamw.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.adamw.load_state_dict(state["adamw"])
        self.steps = state["steps"]
