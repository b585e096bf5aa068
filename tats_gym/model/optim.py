"""Settings and construction of a masked autoencoder's optimiser."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from tats_gym.model.protocol import MaskedModel
from tats_gym.train.optimizer import OptimConfig, ScheduledAdamW


@dataclass(frozen=True, kw_only=True)
class MAEOptimConfig(OptimConfig):
    """Settings of the MAE's optimiser; the defaults are Table 1's, weight decay and scaling rule AdaMAE's."""

    epochs: int = 800
    """Passes over the training clips; also the length of the cosine."""
    warmup_epochs: int = 40
    """Epochs over which the learning rate rises linearly; below `epochs`."""
    base_lr: float = 1.5e-4
    """Learning rate for a batch of 256 clips; scaled linearly with the real batch."""
    min_lr: float = 1e-5
    """Learning rate at the end of the cosine, for a batch of 256 clips; scaled too."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""


def mae_optimizer(
    mae: nn.Module,
    config: MAEOptimConfig,
    *,
    num_envs: int,
    steps_per_epoch: int,
    module: nn.Module | None = None,
) -> ScheduledAdamW:
    """Build the optimiser of an MAE.

    Norms, position embeddings and the mask token do not decay, unless the MAE has `parameter_groups` of its own.

    Args:
        mae: The model to train.
        config: The recipe.
        num_envs: Masks in one environment step, over all ranks.
        steps_per_epoch: Environment steps in one pass over the training clips.
        module: See `ScheduledAdamW`.
    """
    groups = parameter_groups(mae, config.weight_decay)
    return ScheduledAdamW("MAE", groups, config, batch_size=num_envs, steps_per_epoch=steps_per_epoch, module=module)


def parameter_groups(mae: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's groups of an MAE: its own, see `MaskedModel`, or those of `decay_groups`."""
    groups_of: Callable[[float], list[dict[str, Any]]] = getattr(mae, "parameter_groups", partial(decay_groups, mae))
    return groups_of(weight_decay)


def tell_step(mae: MaskedModel, progress: float) -> None:
    """Call an MAE's `after_step` after an optimiser step, if it has one, see `MaskedModel`."""
    after_step: Callable[[float], None] | None = getattr(mae, "after_step", None)
    if after_step is not None:
        after_step(progress)


def statistics(mae: MaskedModel) -> dict[str, float]:
    """Return the numbers that an MAE has to log, by name: none where it has no method `statistics`."""
    statistics_of: Callable[[], dict[str, float]] = getattr(mae, "statistics", dict)
    return statistics_of()


def decay_groups(mae: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return an MAE's parameter groups: vectors, position embeddings and mask token, without decay; then matrices."""
    groups: dict[float, list[nn.Parameter]] = {0.0: [], weight_decay: []}  # one group where the decay is 0
    for name, weights in mae.named_parameters():
        undecayed = weights.ndim <= 1 or name == "mask_token" or "pos_embed." in name
        groups[0.0 if undecayed else weight_decay].append(weights)
    return [{"params": group, "weight_decay": rate} for rate, group in groups.items()]
