"""How many clips a classifier gets right."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Accuracy:
    """Shares of clips, in [0, 1]."""

    top1: float
    """The class with the highest score is the right one."""
    top1_interval: tuple[float, float]
    """Wilson's 95 % interval of top1, over clips."""
    top5: float | None
    """The right class is among the five with the highest scores; None where there are no more than five."""
    per_class: dict[str, float]
    """top1 of each class that has clips."""
    num_clips: int
    """Clips that were classified."""


def accuracy(scores: Tensor, labels: Tensor, classes: tuple[str, ...]) -> Accuracy:
    """Compare scores (N, classes) with labels (N,); of equal scores, that of the lower class counts as higher."""
    if scores.shape != (len(labels), len(classes)) or not len(labels):
        raise ValueError(
            f"scores must be (N, {len(classes)}) for N labels, N at least 1; "
            f"got {tuple(scores.shape)} and {tuple(labels.shape)}"
        )
    order = scores.argsort(dim=1, descending=True, stable=True)  # (N, classes)
    hits = order == labels[:, None]
    right = hits[:, 0]
    names = {name: labels == label for label, name in enumerate(classes)}
    return Accuracy(
        top1=_share(right),
        top1_interval=wilson(int(right.sum()), len(labels)),
        top5=_share(hits[:, :5].any(1)) if len(classes) > 5 else None,
        per_class={name: _share(right[own]) for name, own in names.items() if own.any()},
        num_clips=len(labels),
    )


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 95 % with the default z."""
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return centre - half, centre + half


def _share(hits: Tensor) -> float:
    return hits.to(torch.float64).mean().item()
