"""Standardises features by the training samples' mean and std."""

import math

import torch
from torch import Tensor


def mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return each feature's mean and std over samples (E, ...), in float64: (...).

    The std of a constant feature is infinite: to divide by it removes the feature.
    """
    std, mean = torch.std_mean(values.double(), dim=0, correction=0)
    return mean, torch.where(std > 1e-12 * (1 + mean.abs()), std, math.inf)
