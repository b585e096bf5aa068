"""Accuracy of a classifier: top-1, top-5 and by class, each video counted once; R² of a decoder of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from tats_gym.files.atomic import make_folder
from tats_gym.statistics import wilson
from tats_gym.train.distributed import summed

TOP = 5


@dataclass(frozen=True)
class Accuracy:
    """Counts over the videos of a split, and the accuracies that follow."""

    confusion: NDArray[np.int64]
    """Videos by (true class, predicted class)."""
    in_top5: NDArray[np.int64]
    """(classes,) videos whose class is among the five most probable."""
    broken: int = 0
    """Videos that could not be read; they count as wrong."""

    @property
    def videos(self) -> int:
        """All videos, broken ones included."""
        return int(self.confusion.sum()) + self.broken

    @property
    def top1(self) -> float:
        """Share of the videos whose most probable class is right."""
        return float(np.trace(self.confusion)) / max(1, self.videos)

    @property
    def top5(self) -> float | None:
        """Share of the videos whose class is among the five most probable; None for five classes or fewer."""
        return None if len(self.confusion) <= TOP else float(self.in_top5.sum()) / max(1, self.videos)

    @property
    def top1_interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `top1`, over videos."""
        return wilson(int(np.trace(self.confusion)), self.videos)

    def share_by_class(self, classes: Sequence[str]) -> dict[str, float]:
        """Return the top-1 accuracy of each class that has videos, by its name."""
        rows = zip(classes, self.confusion.diagonal(), self.confusion.sum(1), strict=True)
        return {name: float(right / videos) for name, right, videos in rows if videos}

    def by_class(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """Return for every class its number of videos, of right ones, and the most frequent wrong prediction."""
        rows = []
        for number, name in enumerate(classes):
            row = self.confusion[number]
            others = row.copy()
            others[number] = 0
            rows.append(
                {
                    "class": name,
                    "videos": int(row.sum()),
                    "right": int(row[number]),
                    "taken_for": classes[int(others.argmax())] if others.any() else None,
                }
            )
        return rows

    def as_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return counts and accuracies as plain values."""
        shares = {"top1": self.top1, "top1_interval": list(self.top1_interval), "top5": self.top5}
        return {
            **shares,
            "videos": self.videos,
            "broken": self.broken,
            "by_class": self.by_class(classes),
            "confusion": self.confusion.tolist(),
        }


class Tally:
    """Counts right and wrong predictions, batch by batch, over all ranks."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self._in_top5 = torch.zeros(num_classes, dtype=torch.int64, device=device)
        self._broken = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch of videos: probabilities, or logits (B, classes), and labels (B,).

        Of equal ones, the lower class ranks first.
        """
        classes = len(self._in_top5)
        if probabilities.shape != (len(labels), classes):
            raise ValueError(
                f"there must be {classes} probabilities for each of {len(labels)} labels, "
                f"got {tuple(probabilities.shape)}"
            )
        best = probabilities.argsort(dim=1, descending=True, stable=True)[:, :TOP]
        pairs = labels * classes + best[:, 0]
        self._confusion += torch.bincount(pairs, minlength=classes * classes).view_as(self._confusion)
        hits = (best == labels[:, None]).any(1)
        self._in_top5 += torch.bincount(labels[hits], minlength=classes)

    def add_broken(self, count: int) -> None:
        """Count videos that could not be read."""
        self._broken += count

    def accuracy(self) -> Accuracy:
        """Return the sums over all ranks."""
        parts = (summed(part).cpu() for part in (self._confusion, self._in_top5, self._broken))
        confusion, in_top5, broken = parts
        return Accuracy(confusion.numpy(), in_top5.numpy(), int(broken))


def accuracy_of(probabilities: Tensor, labels: Tensor) -> Accuracy:
    """Count all videos of a split at once, from probabilities (E, classes) and labels (E,)."""
    tally = Tally(probabilities.shape[-1], probabilities.device)
    tally.add(probabilities, labels)
    return tally.accuracy()


def r_squared(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return each target's R² (targets,): 1 - squared errors over squared deviations from the targets' own mean.

    Predictions and targets are (E, targets); a target that is constant has no R².

    Raises:
        ValueError: If a target is constant.
    """
    deviations = (targets.double() - targets.double().mean(0)).square().sum(0)
    if not deviations.all():
        raise ValueError(f"R² needs targets that vary; constant are {(deviations == 0).nonzero().flatten().tolist()}")
    return 1 - (targets.double() - predicted.double()).square().sum(0) / deviations


def confusion_picture(accuracy: Accuracy, classes: Sequence[str], path: Path) -> Path:
    """Draw the confusion matrix as a PNG, each row in shares of its class's videos."""
    shares = accuracy.confusion / np.maximum(accuracy.confusion.sum(1, keepdims=True), 1)
    side = 3.0 + 0.28 * min(len(classes), 60)
    figure = Figure(figsize=(side + 1.0, side), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes.set(
        xlabel="predicted class", ylabel="true class", title=f"top-1 {accuracy.top1:.1%} of {accuracy.videos} videos"
    )
    if len(classes) <= 60:
        names = [name if len(name) <= 32 else f"{name[:31]}…" for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(classes)), names, fontsize=7)
    figure.colorbar(drawn, ax=axes, label="share of the true class", shrink=0.8)
    make_folder(path.parent)
    figure.savefig(path)
    return path
