"""RankMe: the effective rank of features, which falls where an encoder collapses. It needs no labels."""

import torch
from torch import Tensor

MOST_CLIPS = 25_600
"""Clips that count; the publication found more of them to change nothing."""
EPSILON = 1e-7


def rankme(values: Tensor) -> float:
    """Return the exponential of the entropy of the features' singular values, from 1 to min(E, D).

    Source: Garrido et al., RankMe, arXiv 2210.02885, equation 1.

    Args:
        values: (E, D) features; they are neither centred nor scaled.
    """
    x = values[:MOST_CLIPS].double()
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x  # its eigenvalues are the squares of the singular values
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = singular / singular.sum() + EPSILON
    return float((-(shares * shares.log()).sum()).exp())
