"""Standardises features by the training samples' mean and deviation."""

import math

import torch
from torch import Tensor


def mean_and_deviation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each feature's mean and deviation over samples (E, ...), in float64: (...).

    The deviation of a constant feature is infinite: to divide by it removes the feature.
    """
    deviation, mean = torch.std_mean(values.double(), dim=0, correction=0)
    return mean, torch.where(deviation > 1e-12 * (1 + mean.abs()), deviation, math.inf)
