"""Mixup and CutMix: mixes every clip, and its label, with another one of the batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals


@dataclass(frozen=True, kw_only=True)
class MixConfig:
    """Settings of Mixup and CutMix; the defaults are the fine-tuning's (supplement, table 4)."""

    mixup: float = 0.8
    """Both parameters of the Beta distribution of Mixup's weight (https://arxiv.org/abs/1710.09412); 0 for no Mixup."""
    cutmix: float = 1.0
    """Both parameters of the Beta distribution of the share that CutMix keeps (https://arxiv.org/abs/1905.04899); 0 for
    no CutMix."""
    probability: float = 1.0
    """Probability that a batch is mixed at all, in [0, 1]."""
    switch: float = 0.5
    """Probability of CutMix where Mixup is on too, in [0, 1]; table 4 does not give it, VideoMAE takes 0.5."""
    smoothing: float = 0.1
    """Label smoothing: this share of a label's weight is spread evenly over all classes, in [0, 1)."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, mixup="[0, inf)", cutmix="[0, inf)")
        check_intervals(self, probability="[0, 1]", switch="[0, 1]", smoothing="[0, 1)")


def mix(
    clips: Tensor, labels: Tensor, num_classes: int, config: MixConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix the first clip of a batch with the last, the second with the second last, and so on.

    Mixup or CutMix, the weight and the box are drawn once for the batch. CutMix replaces the same box of rows and
    columns in every frame. Where the size of the batch is odd, the clip in the middle stays as it is.

    Args:
        clips: Pixels (B, C, T, H, W) in [0, 255], of any dtype; they are not changed.
        labels: Classes (B,) in [0, num_classes), int64.
        num_classes: Classes of the dataset.
        config: Settings of Mixup and CutMix.
        rng: Random generator.

    Returns:
        Clips (B, C, T, H, W) in [0, 255], float32, and targets (B, num_classes), float32, whose rows sum to 1.

    Raises:
        ValueError: If `clips` or `labels` has another shape.
    """
    if clips.ndim != 5 or labels.shape != clips.shape[:1]:
        raise ValueError(
            f"clips must be (B, C, T, H, W) and labels (B,), got {tuple(clips.shape)} and {tuple(labels.shape)}"
        )
    mixed = clips.to(torch.float32, copy=True)
    targets = smooth_targets(labels, num_classes, config.smoothing)
    if not (config.mixup or config.cutmix) or rng.random() >= config.probability:
        return mixed, targets
    if config.cutmix and (not config.mixup or rng.random() < config.switch):
        height, width = clips.shape[-2:]
        rows, columns = cut_box(height, width, rng.beta(config.cutmix, config.cutmix), rng)
        mixed[..., rows, columns] = clips[..., rows, columns].flip(0).float()
        kept = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    else:
        kept = rng.beta(config.mixup, config.mixup)
        mixed.mul_(kept).add_(clips.flip(0), alpha=1 - kept)
    return mixed, targets.lerp(targets.flip(0), 1 - kept)


def cut_box(height: int, width: int, kept: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a box, centred at a random pixel and in the frame's proportions, that leaves the share `kept` of the frame.

    The box is clipped to the frame, so that more than `kept` may be left, as in CutMix's own definition.

    Returns:
        Its rows and columns.
    """
    scale = (1 - kept) ** 0.5
    sides = []
    for length in (height, width):
        side, middle = int(length * scale), int(rng.integers(length))
        start = middle - side // 2
        sides.append(slice(max(start, 0), min(start + side, length)))
    return sides[0], sides[1]


def smooth_targets(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Give each label (B,) the weight 1 - smoothing, and all classes an even share of the rest: (B, num_classes)."""
    targets = torch.full((len(labels), num_classes), smoothing / num_classes, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / num_classes)
