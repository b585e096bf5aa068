"""Multinomial logistic regression on standardised features, fitted to convergence, its L2 chosen on held-out clips."""

import logging
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from tats_gym.probe.standardise import mean_and_std
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Candidates for the strength of L2, and the solver's stopping rule."""

    strengths: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Candidates for l2 in the objective, mean cross-entropy + l2 / 2 * squared weights; biases are not penalised."""
    held_out: float = 0.2
    """Share of every class's training videos on which the candidates are compared, in (0, 1)."""
    tolerance: float = 1e-5
    """Largest entry of the gradient at which the solver has converged."""
    max_iterations: int = 2000
    """Most steps of L-BFGS; if it has not converged by then, a warning is logged."""

    def __post_init__(self) -> None:
        check_plain(self)
        if not self.strengths or min(self.strengths) <= 0:
            raise ValueError(f"strengths must be positive, at least one of them; got {self.strengths}")
        check_intervals(self, held_out="(0, 1)", tolerance="(0, inf)", max_iterations="[1, inf)")


@dataclass(frozen=True)
class Logistic:
    """A classifier in float64: softmax((x - mean) / std @ weight + bias)."""

    mean: Tensor
    """(D,)"""
    std: Tensor
    """(D,); infinite for constant features, which removes them."""
    weight: Tensor
    """(D, classes)"""
    bias: Tensor
    """(classes,)"""
    l2: float
    """Strength of L2."""
    converged: bool
    """Whether the gradient fell below the tolerance."""

    def probabilities(self, values: Tensor) -> Tensor:
        """Return class probabilities (E, classes) for features (E, D)."""
        logits = (values.double() - self.mean) / self.std @ self.weight + self.bias
        return logits.softmax(1)


def fit_logistic(
    values: Tensor, labels: Tensor, ids: Tensor, num_classes: int, config: LogisticConfig, *, seed: int = 0
) -> Logistic:
    """Choose the strength with the lowest cross-entropy on a held-out part of the training clips, then fit all of them.

    Args:
        values: Features (E, D).
        labels: Classes (E,).
        ids: Videos (E,) of the features; all views and segments of one are held out together or not at all.
        num_classes: At least 2.
        config: Candidates and stopping rule.
        seed: Seed of the held-out part.
    """
    held = held_out_videos(labels, ids, config.held_out, seed=seed)
    start = None
    losses = {}
    for l2 in sorted(config.strengths, reverse=True) if len(config.strengths) > 1 else ():
        model = fit(values[~held], labels[~held], num_classes, l2, config, start=start)
        start = torch.cat((model.weight, model.bias[None]))
        losses[l2] = F.nll_loss(model.probabilities(values[held]).log(), labels[held]).item()
    best = min(losses, key=losses.__getitem__) if losses else config.strengths[0]
    return fit(values, labels, num_classes, best, config)


def held_out_videos(labels: Tensor, ids: Tensor, share: float, *, seed: int) -> Tensor:
    """Draw a share of every class's videos, at least one of two or more: bool (E,), True where held out.

    Where a video has segments of several classes, the share is of all videos.
    """
    generator = torch.Generator().manual_seed(seed)
    if len(torch.stack((ids, labels), 1).unique(dim=0)) > len(ids.unique()):
        labels = torch.zeros_like(labels)
    chosen = []
    for label in labels.unique():
        videos = ids[labels == label].unique()
        count = min(max(1, round(share * len(videos))), len(videos) - 1)
        chosen.append(videos[torch.randperm(len(videos), generator=generator)[:count]])
    held = torch.isin(ids, torch.cat(chosen))
    if not held.any():
        raise ValueError(
            "every class has a single training video: none can be held out to compare strengths of L2; "
            "give a single one, like --logistic.strengths 0.01 (--probing.config.logistic.strengths where agents are "
            "compared)"
        )
    return held


def fit(
    values: Tensor,
    labels: Tensor,
    num_classes: int,
    l2: float,
    config: LogisticConfig,
    *,
    start: Tensor | None = None,
) -> Logistic:
    """Minimise mean cross-entropy + l2 / 2 * squared weights over standardised features by L-BFGS, in float64.

    Args:
        values: Features (E, D).
        labels: Classes (E,).
        num_classes: At least 2.
        l2: Strength.
        config: Stopping rule.
        start: Initial weights and biases (D + 1, classes); zeros where None.
    """
    mean, std = mean_and_std(values)
    x = (values.double() - mean) / std  # (E, D)
    targets = F.one_hot(labels, num_classes).double()
    shape = (x.shape[1] + 1, num_classes)
    first = torch.zeros(shape, dtype=torch.float64) if start is None else start.cpu()
    solution = minimize(
        partial(_loss_and_gradient, x=x, targets=targets, l2=l2),
        first.flatten().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": config.max_iterations, "maxfun": 2 * config.max_iterations, "gtol": config.tolerance}
        | {"ftol": 0.0, "maxcor": 20},
    )
    converged = bool(np.abs(solution.jac).max() <= config.tolerance)
    if not converged:
        logger.warning("logistic regression with l2 %g stopped after %d steps: %s", l2, solution.nit, solution.message)
    theta = torch.from_numpy(solution.x).to(x.device).view(shape)
    return Logistic(mean, std, theta[:-1], theta[-1], l2, converged)


def _loss_and_gradient(
    flat: NDArray[np.float64], x: Tensor, targets: Tensor, l2: float
) -> tuple[float, NDArray[np.float64]]:
    """Return the objective of `fit` and its gradient at weights and biases ((D + 1) * classes,)."""
    theta = torch.from_numpy(flat).to(x.device).view(-1, targets.shape[1])
    weight, bias = theta[:-1], theta[-1]
    logs = (x @ weight + bias).log_softmax(1)
    loss = -(targets * logs).sum() / len(x) + l2 / 2 * weight.square().sum()
    residual = (logs.exp() - targets) / len(x)
    gradient = torch.cat((x.T @ residual + l2 * weight, residual.sum(0, keepdim=True)))
    return loss.item(), gradient.flatten().cpu().numpy()
