"""How a masked autoencoder is optimised."""

from dataclasses import dataclass

from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.train.optimizer import OptimConfig, Optimizer


@dataclass(frozen=True, kw_only=True)
class MAEOptimConfig(OptimConfig):
    """How the MAE is optimised; the defaults are Table 1's, weight decay and scaling rule AdaMAE's."""

    epochs: int = 800
    """Passes over the training clips; also the length of the cosine."""
    warmup_epochs: int = 40
    """Epochs over which the learning rate rises linearly; below `epochs`."""
    base_lr: float = 1.5e-4
    """Learning rate for a batch of 256 clips; scaled linearly with the real batch."""
    min_lr: float = 1e-5
    """Where the cosine ends, for a batch of 256 clips; scaled too."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates."""


def mae_optimizer(
    mae: MaskedAutoencoder,
    config: MAEOptimConfig,
    *,
    num_envs: int,
    steps_per_epoch: int,
    module: nn.Module | None = None,
) -> Optimizer:
    """Return the optimiser of an MAE; weights of norms, positions and the mask token do not decay.

    Args:
        mae: The model whose weights are stepped.
        config: The recipe.
        num_envs: Masks in one environment step, over all processes.
        steps_per_epoch: Environment steps that make one pass over the training clips.
        module: See `Optimizer`.
    """
    positions = (name for name, _ in mae.named_parameters() if "pos_embed." in name)
    groups = param_groups_weight_decay(mae, config.weight_decay, no_weight_decay_list=("mask_token", *positions))
    return Optimizer("MAE", groups, config, batch_size=num_envs, steps_per_epoch=steps_per_epoch, module=module)
