"""Linear probe: batch norm and a linear layer, trained by LARS or SGD with MAE's recipe, on cached features."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

OptimizerName = Literal["lars", "sgd"]
REFERENCE_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class SgdConfig:
    """MAE's recipe (arXiv 2111.06377, Appendix A.1), except its batch of 16384, which exceeds some datasets."""

    optimizer: OptimizerName = "lars"
    """lars (arXiv 1708.03888): trust .001, none on the bias. sgd: plain SGD."""
    epochs: int = 90
    """Passes over the training clips; also the length of the cosine."""
    warmup_epochs: int = 10
    """Passes over which the learning rate rises linearly; below `epochs`."""
    base_lr: float = 0.1
    """Learning rate for a batch of 256, scaled linearly with the batch."""
    batch_size: int = 256
    """Clips in a step; the last step of a pass may have fewer."""
    momentum: float = 0.9
    """Momentum of the optimiser, in [0, 1)."""

    def __post_init__(self) -> None:
        check_plain(self)
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(f"warmup_epochs must lie in [0, epochs), got {self.warmup_epochs} of {self.epochs}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for a batch norm, got {self.batch_size}")
        check_intervals(self, base_lr="(0, inf)", momentum="[0, 1)")


@dataclass(frozen=True)
class SgdProbe:
    """A trained linear probe."""

    head: nn.Sequential

    def probabilities(self, values: Tensor) -> Tensor:
        """Return class probabilities (E, classes) for features (E, D)."""
        with torch.no_grad():
            probabilities: Tensor = self.head(values).softmax(1)
        return probabilities


def fit_sgd(values: Tensor, labels: Tensor, num_classes: int, config: SgdConfig, *, seed: int = 0) -> SgdProbe:
    """Train on features (R, E, D) with classes (R, E); epoch e takes the views of pass e mod R.

    The global random state is left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    passes, count, width = values.shape
    if count < 2:
        raise ValueError(f"a batch norm needs at least 2 training clips, got {count}")
    head = probe_head(width, num_classes, generator).to(values.device)
    optimizer = probe_optimizer(head[1], config)
    # A last batch of one clip has no variance: it joins the one before.
    steps = max(1, count // config.batch_size + (count % config.batch_size > 1))
    lr = config.base_lr * min(config.batch_size, count) / REFERENCE_BATCH
    for epoch in range(config.epochs):
        order = torch.randperm(count, generator=generator).to(values.device)
        for step, rows in enumerate(order.tensor_split(steps)):
            for group in optimizer.param_groups:
                group["lr"] = lr * schedule(epoch + step / steps, config)
            loss = F.cross_entropy(head(values[epoch % passes, rows]), labels[epoch % passes, rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return SgdProbe(head.eval())


def probe_head(width: int, num_classes: int, generator: torch.Generator) -> nn.Sequential:
    """Return a batch norm without parameters and a linear layer with small weights and zero bias."""
    linear = nn.utils.skip_init(nn.Linear, width, num_classes)
    nn.init.trunc_normal_(linear.weight, std=0.01, generator=generator)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=1e-6), linear)


def probe_optimizer(linear: nn.Module, config: SgdConfig) -> torch.optim.Optimizer:
    """Return the optimiser of the linear layer, without weight decay."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(linear.parameters(), lr=config.base_lr, momentum=config.momentum)
    from timm.optim.lars import Lars  # takes seconds, and the other probes do not need it

    groups = [{"params": [value], "always_adapt": value.ndim > 1} for value in linear.parameters()]
    return Lars(groups, lr=config.base_lr, momentum=config.momentum, trust_coeff=0.001)


def schedule(epoch: float, config: SgdConfig) -> float:
    """Return the factor of the learning rate at a time in epochs: linear warm-up, then a cosine to zero."""
    if epoch < config.warmup_epochs:
        return epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return (1 + math.cos(math.pi * progress)) / 2
