"""Optimiser steps from losses: AdamW, learning-rate schedule, gradient accumulation over steps and ranks."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.train.nonfinite import GradientGuard

REFERENCE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Settings of AdamW and its schedule; subclasses give the defaults."""

    epochs: int
    """Passes over the training clips; also the length of the cosine."""
    warmup_epochs: int
    """Epochs over which the learning rate rises linearly; below `epochs`."""
    base_lr: float
    """Learning rate for a batch of 256 clips; scaled linearly with the real batch."""
    min_lr: float
    """Learning rate at the end of the cosine, for a batch of 256 clips; scaled too."""
    betas: tuple[float, float]
    """AdamW's decay rates."""
    weight_decay: float = 0.05
    """AdamW's weight decay; none on biases, norms, position embeddings and tokens."""
    accumulate: int = 1
    """Steps whose gradients are accumulated for one optimiser step."""
    shard_state: bool = False
    """Shard AdamW's state over the ranks (ZeRO, stage 1), for large models on many GPUs."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, epochs="[1, inf)", accumulate="[1, inf)", base_lr="(0, inf)", min_lr="[0, inf)")
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must lie in [0, epochs), got {self.warmup_epochs} with epochs {self.epochs}; "
                "set both for a short run"
            )


class LearningRate:
    """The learning rate of each optimiser step: a linear warm-up, then a cosine.

    Args:
        config: The recipe.
        batch_size: Clips in one step, over all ranks.
        steps_per_epoch: Steps in one pass over the training clips; `config.accumulate` of them make an optimiser step.
    """

    def __init__(self, config: OptimConfig, *, batch_size: int, steps_per_epoch: int) -> None:
        scale = batch_size * config.accumulate / REFERENCE_BATCH
        self.highest, self.lowest = config.base_lr * scale, min(config.min_lr, config.base_lr) * scale
        self.warmup_steps = max(1, config.warmup_epochs * steps_per_epoch // config.accumulate)
        self.total_steps = max(self.warmup_steps + 1, config.epochs * steps_per_epoch // config.accumulate)

    def at(self, step: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.highest * (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / (self.total_steps - self.warmup_steps))
        return self.lowest + (self.highest - self.lowest) * (1 + math.cos(math.pi * progress)) / 2


class ScheduledAdamW:
    """Turns losses into optimiser steps; `tats_gym.train.nonfinite` gives the rule for NaN and infinity.

    Args:
        name: The network's name, for messages.
        groups: AdamW's parameter groups; an `lr_scale` of a group multiplies its learning rate.
        config: The recipe.
        batch_size: Clips in one step, over all ranks.
        steps_per_epoch: Steps in one pass over the training clips.
        module: The model as `parallel` returned it, so that ranks exchange gradients only before an optimiser step.
    """

    def __init__(
        self,
        name: str,
        groups: list[dict[str, Any]],
        config: OptimConfig,
        *,
        batch_size: int,
        steps_per_epoch: int,
        module: nn.Module | None = None,
    ) -> None:
        self.name, self.config = name, config
        self.lr = LearningRate(config, batch_size=batch_size, steps_per_epoch=steps_per_epoch)
        self.step_clips = batch_size * config.accumulate
        """Clips in one optimiser step, over all ranks."""
        self.sharded = config.shard_state and dist.is_initialized()
        """Whether each rank keeps the moments of a part of the weights."""
        self.adamw = _adamw(groups, config, self.lr.highest, sharded=self.sharded)
        self.steps = 0
        """Optimiser steps so far, skipped ones included: the place in the schedule."""
        self.guard = GradientGuard(name, self.adamw, lambda: f"optimiser step {self.steps}")
        self._module, self._accumulated = module, 0
        self._exchange()

    def step(self, loss: Tensor) -> None:
        """Backpropagate one step's loss and, after `accumulate` of them, update the weights.

        The loss must be finite in every rank; the caller checks its mean.

        Raises:
            NonFiniteError: If too many steps in a row were skipped.
        """
        (loss / self.config.accumulate).backward()
        self._accumulated += 1
        if self._accumulated == self.config.accumulate:
            self._follow_schedule(self.steps)
            self.adamw.step()
            self.adamw.zero_grad(set_to_none=True)
            self.steps += 1
            self._accumulated = 0
        self._exchange()

    def _follow_schedule(self, step: int) -> None:
        for group in self.adamw.param_groups:
            group["lr"] = self.lr.at(step) * group.get("lr_scale", 1.0)

    @property
    def no_pending_gradients(self) -> bool:
        """Whether no gradients are accumulated."""
        return self._accumulated == 0

    @property
    def progress(self) -> float:
        """Share of the schedule's optimiser steps that are done, at most 1."""
        return min(1.0, self.steps / self.lr.total_steps)

    def _exchange(self) -> None:
        """Have the ranks exchange gradients in the next backward pass only if an optimiser step follows it."""
        if isinstance(self._module, DistributedDataParallel):
            self._module.require_backward_grad_sync = self._accumulated + 1 == self.config.accumulate

    def state_dict(self) -> dict[str, Any]:
        """Return AdamW's state and the step count; accumulated gradients are not part of it.

        All ranks must call it; with `shard_state` rank 0 alone gets AdamW's state.
        """
        adamw: dict[str, Any] = {}
        if self.sharded:
            self.adamw.consolidate_state_dict(to=0)
        if not self.sharded or dist.get_rank() == 0:
            adamw = self.adamw.state_dict()
        return {
            "adamw": adamw,
            "steps": self.steps,
            "step_clips": self.step_clips,
            "guard": self.guard.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`: with another batch size the same number of clips; settings stay the recipe's."""
        group_settings = [
            {name: value for name, value in group.items() if name != "params"} for group in self.adamw.param_groups
        ]
        self.adamw.load_state_dict(state["adamw"])
        for group, settings in zip(self.adamw.param_groups, group_settings, strict=True):
            group.update(settings)
        if self.sharded:  # ZeroRedundancyOptimizer leaves step counts on the CPU, but fused AdamW
            for parameter, values in self.adamw.optim.state.items():  # needs them on the weights' device
                values["step"] = values["step"].to(parameter.device)
        self.steps = state["steps"] * state["step_clips"] // self.step_clips
        if self.steps:
            self._follow_schedule(self.steps - 1)  # for a state_dict before the next step
        if "guard" in state:  # older checkpoints have no counts
            self.guard.load_state_dict(state["guard"])


def _adamw(groups: list[dict[str, Any]], config: OptimConfig, lr: float, *, sharded: bool) -> Any:
    settings: dict[str, Any] = {"lr": lr, "betas": config.betas, "fused": True}
    if sharded:
        from torch.distributed.optim import ZeroRedundancyOptimizer  # takes seconds, and few runs shard

        return ZeroRedundancyOptimizer(groups, torch.optim.AdamW, **settings)
    return torch.optim.AdamW(groups, **settings)
