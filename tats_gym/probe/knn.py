"""k-nearest-neighbour classifier by cosine similarity; it needs no training."""

import logging
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

Votes = Literal["weighted", "plain"]
CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Votes of the neighbours; the defaults are DINO's (arXiv 2104.14294, evaluation by k-NN)."""

    k: int = 20
    """Neighbours, at least 1; where there are fewer training clips, all vote."""
    votes: Votes = "weighted"
    """weighted: each neighbour counts exp(cosine / temperature). plain: each counts 1, and nearer ones break ties."""
    temperature: float = 0.07
    """Temperature of weighted votes."""
    centre: bool = False
    """Subtract the mean of the training features first (ours): a part common to all features dominates the cosine."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, k="[1, inf)", temperature="(0, inf)")


@dataclass(frozen=True)
class Knn:
    """A classifier that stores the training features."""

    values: Tensor
    """(E, D) features of the training clips, of unit length."""
    labels: Tensor
    """(E,)"""
    num_classes: int
    """Classes, some of which may have no clip."""
    mean: Tensor
    """(D,) subtracted from features."""
    config: KnnConfig

    def probabilities(self, values: Tensor) -> Tensor:
        """Return each class's share of the votes (E, classes) for features (E, D)."""
        return torch.cat([self._probabilities(part) for part in values.split(CHUNK)])

    def _probabilities(self, values: Tensor) -> Tensor:
        near, ids = (_unit(values, self.mean) @ self.values.T).topk(self.config.k, dim=1)  # (E, neighbours)
        if self.config.votes == "weighted":
            weights = ((near - near[:, :1]) / self.config.temperature).exp()
        else:  # the cosines, far smaller than a vote, decide ties
            weights = 1 + near * (1e-4 / self.config.k)
        votes = weights.new_zeros(len(values), self.num_classes).scatter_add(1, self.labels[ids], weights)
        return votes / votes.sum(1, keepdim=True)


def fit_knn(values: Tensor, labels: Tensor, num_classes: int, config: KnnConfig) -> Knn:
    """Store features (E, D) and their classes (E,); where E is below k, k becomes E, which is logged."""
    if config.k > len(values):
        logger.warning(
            "knn: there are only %d training clips for k = %d, so that all of them vote; tats-gym probe takes "
            "--knn.k, and a comparison of agents --probing.config.knn.k",
            len(values), config.k,
        )  # fmt: skip
        config = replace(config, k=len(values))
    mean = values.double().mean(0) * config.centre
    return Knn(_unit(values, mean), labels, num_classes, mean, config)


def _unit(values: Tensor, mean: Tensor) -> Tensor:
    return F.normalize(values.double() - mean, dim=1)
