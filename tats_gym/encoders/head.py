"""The classifier on an encoder: norm and linear layer in any known layout, with classes, pool and test views."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tats_gym.clips import ClipConfig
from tats_gym.clips.augment import Sampling
from tats_gym.clips.config import PixelAspect
from tats_gym.datasets import Dataset
from tats_gym.encoders.description import read_mapping
from tats_gym.encoders.names import unwrapped
from tats_gym.encoders.weight_files import check_weights, read_json
from tats_gym.model.classifier import VideoClassifier
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.pooling import Pool
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.settings.config_io import check_plain, from_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import TokenGrid

logger = logging.getLogger(__name__)

HEAD_NAMES = ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias")
"""The weights of a classifier, under our names and the published ones."""


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A classifier's classes, pool and test views; where a file does not give them, the published VideoMAE's."""

    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits; () where they are unknown."""
    pool: Pool = "mean"
    """Pooling of a clip's tokens."""
    stride: int = Dataset.stride
    """Frames of the video from one frame of a clip to the next."""
    sampling: Sampling = Dataset.finetune_sampling
    """See `ClipConfig.sampling`."""
    published_views: bool = True
    """See `ClipConfig.published_views`."""
    antialias: bool = ClipConfig.antialias
    """See `ClipConfig.antialias`; without effect on published views."""
    pixel_aspect: PixelAspect = ClipConfig.pixel_aspect
    """See `ClipConfig.pixel_aspect`."""
    temporal_views: int = Dataset.finetune_views
    """Windows of each video."""
    spatial_views: int = 3
    """Squares of each window."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, stride="[1, inf)", temporal_views="[1, inf)", spatial_views="[1, inf)")


@dataclass(frozen=True)
class Head:
    """A classifier's weights and settings."""

    weights: dict[str, Tensor]
    """`HEAD_NAMES`, float32."""
    config: HeadConfig = field(default_factory=HeadConfig)

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.weights["head.weight"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; their numbers where the names are unknown."""
        return self.config.classes or tuple(map(str, range(self.num_classes)))

    def ordered(self, classes: tuple[str, ...]) -> Self:
        """Return the head with its logits in the order of a dataset's classes.

        Classes are matched by name if both have the same names, else by their numbers, which is logged.

        Raises:
            ValueError: If the numbers of classes differ.
        """
        if len(classes) != self.num_classes:
            raise ValueError(
                f"the dataset must have the classifier's {self.num_classes} classes ({self.classes[0]!r}, ...), "
                f"got {len(classes)} ({classes[0]!r}, ...)"
            )
        settings = replace(self.config, classes=classes)
        if set(classes) == set(self.classes) and len(set(classes)) == len(classes):
            rows = [self.classes.index(name) for name in classes]
            moved = {name: value[rows] for name, value in self.weights.items() if name.startswith("head.")}
            return replace(self, weights=self.weights | moved, config=settings)
        if self.config.classes:
            first = next(pair for pair in zip(self.classes, classes, strict=True) if pair[0] != pair[1])
            logger.warning(
                "the classifier's classes have other names than the dataset's (%r, %r): taking them by number", *first
            )
        return replace(self, config=settings)


def read_head(
    weights: Mapping[str, Tensor], settings: Mapping[str, Any], encoder: MAEConfig, grid: TokenGrid
) -> Head | None:
    """Read the classifier among a file's weights; None if there is none with a norm behind the pool.

    Args:
        weights: The file's weights, in any known layout.
        settings: Fields of `HeadConfig`, as far as the file has them.
        encoder: Architecture of its encoder.
        grid: Geometry of its encoder.

    Raises:
        CheckpointError: If weights or settings are damaged.
    """
    named = {_our_name(name): value.float() for name, value in weights.items()}
    head_weights = {name: named[name].contiguous() for name in HEAD_NAMES if name in named}
    if len(head_weights) < len(HEAD_NAMES) or head_weights["head.weight"].shape[:1].numel() < 2:
        return None
    try:
        head = Head(head_weights, from_plain(HeadConfig, settings, "head"))
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"the settings of its classifier are not valid: {err}") from err
    if len(head.classes) != head.num_classes:
        raise CheckpointError(f"it names {len(head.classes)} classes, but its classifier has {head.num_classes}")
    check_head(head, encoder, grid)
    return head


def check_head(head: Head, encoder: MAEConfig, grid: TokenGrid) -> None:
    """Raise CheckpointError unless the weights are those of a classifier with this pool on this encoder."""
    with torch.device("meta"):
        video = VideoEncoder(encoder, grid, norm="none")
        wanted = VideoClassifier(video, head.num_classes, head.config.pool).state_dict()
    check_weights(head.weights, {name: wanted[name] for name in HEAD_NAMES})


def run_head_settings(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields of `HeadConfig` in a fine-tuning's checkpoint, or in config.json in its run's folder."""
    settings, record = read_mapping(state, "config"), folder / "config.json"
    if not settings and record.is_file():
        settings = read_mapping(read_json(record), "config")
    head_settings: dict[str, Any] = {
        name: settings[name] for name in ("pool", "temporal_views", "spatial_views") if name in settings
    }
    clips = read_mapping(settings, "clips")
    names = ("stride", "sampling", "published_views", "antialias", "pixel_aspect")
    shared: dict[str, Any] = {name: clips[name] for name in names if name in clips}
    return {"classes": state.get("classes", ()), "published_views": False, **head_settings, **shared}


def hf_head_settings(config: Mapping[str, Any], description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `HeadConfig` in a Hugging Face folder: the names in its config.json, else our description.

    Names that transformers makes up (LABEL_0, ...) count as unknown.
    """
    labels = read_mapping(config, "id2label")
    numbers = [str(number) for number in range(len(labels))]
    known = set(labels) == set(numbers) and any(labels[number] != f"LABEL_{number}" for number in numbers)
    classes = [labels[number] for number in numbers] if known else ()
    return {**read_mapping(description, "head"), "classes": classes}


def _our_name(name: str) -> str:
    name = unwrapped(name)
    return name.replace("classifier.", "head.", 1) if name.startswith("classifier.") else name
