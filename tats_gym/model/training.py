"""Settings and construction of a masked autoencoder's optimiser."""

from dataclasses import dataclass

from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from tats_gym.model.videomae import MaskedAutoencoder
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
    mae: MaskedAutoencoder,
    config: MAEOptimConfig,
    *,
    num_envs: int,
    steps_per_epoch: int,
    module: nn.Module | None = None,
) -> ScheduledAdamW:
    """Build the optimiser of an MAE; norms, positions and the mask token have no weight decay.

    Args:
        mae: The model to train.
        config: The recipe.
        num_envs: Masks in one environment step, over all ranks.
        steps_per_epoch: Environment steps in one pass over the training clips.
        module: See `ScheduledAdamW`.
    """
    positions = (name for name, _ in mae.named_parameters() if "pos_embed." in name)
    groups = param_groups_weight_decay(mae, config.weight_decay, no_weight_decay_list=("mask_token", *positions))
    return ScheduledAdamW("MAE", groups, config, batch_size=num_envs, steps_per_epoch=steps_per_epoch, module=module)
