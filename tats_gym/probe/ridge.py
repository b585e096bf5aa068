"""Ridge regression on standardised features, in closed form, its L2 chosen for each target on held-out clips."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tats_gym.probe.logistic import held_out_videos
from tats_gym.probe.standardise import mean_and_std
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """Candidates for the strength of L2."""

    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
    """Candidates for l2 in the objective, mean squared error + l2 * squared weights; biases are not penalised."""
    held_out: float = 0.2
    """Share of the training clips on which the candidates are compared, in (0, 1)."""

    def __post_init__(self) -> None:
        check_plain(self)
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive, at least one of them; got {self.strengths}")
        check_intervals(self, held_out="(0, 1)")


@dataclass(frozen=True)
class Ridge:
    """A decoder of numbers in float64: (x - mean) / std @ weight + bias."""

    mean: Tensor
    """(D,)"""
    std: Tensor
    """(D,); infinite for constant features, which removes them."""
    weight: Tensor
    """(D, targets)"""
    bias: Tensor
    """(targets,)"""
    l2: Tensor
    """(targets,) strengths of L2."""

    def predict(self, values: Tensor) -> Tensor:
        """Return predictions (E, targets) for features (E, D)."""
        return (values.double() - self.mean) / self.std @ self.weight + self.bias


def fit_ridge(values: Tensor, targets: Tensor, ids: Tensor, config: RidgeConfig, *, seed: int = 0) -> Ridge:
    """Choose each target's strength by its squared error on a held-out part of the training clips, then fit all.

    Solved in the dual, through the E x E products of the samples: features may be many more than samples. They are
    standardised over all training samples once, those of the held-out clips included; so the fits that choose the
    strength penalise their biases a little.

    Args:
        values: Features (E, D).
        targets: Numbers (E, targets).
        ids: Clips (E,) of the samples; all samples of one clip are held out together or not at all.
        config: Candidates.
        seed: Seed of the held-out part.
    """
    mean, std = mean_and_std(values)
    x, y = (values.double() - mean) / std, targets.double()  # (E, D), (E, targets)
    products = x @ x.T  # (E, E)
    held = held_out_videos(torch.zeros_like(ids), ids, config.held_out, seed=seed)
    errors = []
    for l2 in config.strengths:
        bias = y[~held].mean(0)
        predicted = products[held][:, ~held] @ _dual(products[~held][:, ~held], y[~held] - bias, l2) + bias
        errors.append((predicted - y[held]).square().mean(0))
    best = torch.tensor(config.strengths, dtype=torch.float64, device=y.device)[torch.stack(errors).argmin(0)]
    bias = y.mean(0)
    dual = torch.empty_like(y)
    for strength in best.unique():
        chosen = best == strength
        dual[:, chosen] = _dual(products, y[:, chosen] - bias[chosen], strength.item())
    return Ridge(mean, std, x.T @ dual, bias, best)


def _dual(products: Tensor, y: Tensor, l2: float) -> Tensor:
    """Return the weights (E, targets) of the samples in the solution: (products + E * l2 * I) dual = y."""
    count = len(products)
    regularised = products + count * l2 * torch.eye(count, dtype=products.dtype, device=products.device)
    return torch.cholesky_solve(y, torch.linalg.cholesky(regularised))
