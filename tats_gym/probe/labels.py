"""Checks that the labels of two splits suit training and test."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tats_gym.clips import VideoList


class Labels(NamedTuple):
    """The labels of a split."""

    values: Tensor
    """(E,) int64, negative where there is none."""
    classes: Sequence[str]
    """Names of the classes, by label."""


def labels_of(videos: VideoList) -> Labels:
    """Return the labels in the annotations."""
    values = [-1 if video.label is None else video.label for video in videos.videos]
    return Labels(torch.tensor(values, dtype=torch.int64), videos.classes)


def check_labelled(name: str, part: Labels) -> None:
    """Raise ValueError unless every clip of a split has a class."""
    if unlabelled := int((part.values < 0).sum()):
        raise ValueError(
            f"every clip needs a class, but {unlabelled} of {part.values.numel()} clips of the {name} split have "
            "none; take a dataset with labels, or name classes in a list (TatsMask-list-v0)"
        )


def check_labels(train: Labels, test: Labels) -> None:
    """Raise ValueError unless a classifier can be trained on one split and tested on the other."""
    for name, part in (("training", train), ("test", test)):
        check_labelled(name, part)
    classes, others = list(train.classes), list(test.classes)
    if classes != others:
        odd = sorted(set(classes) ^ set(others))[:3]
        raise ValueError(
            f"training and test split must have the same classes in the same order, got {len(classes)} and "
            f"{len(others)}{f' (only one of them has {odd})' if odd else ''}; take annotations of one dataset for both"
        )
    if len(classes) < 2:
        raise ValueError(f"at least 2 classes are needed, got {classes}")
    for name, part in (("training", train), ("test", test)):
        if part.values.numel() and (top := int(part.values.max())) >= len(classes):
            raise ValueError(
                f"labels of the {name} split must lie in [0, {len(classes)}), got {top}; "
                "its annotations are of another dataset"
            )
    missing = [classes[int(label)] for label in test.values.unique() if not (train.values == label).any()]
    if missing:
        raise ValueError(
            f"every class of the test split needs a training clip, but {len(missing)} have none "
            f"({', '.join(missing[:3])}); complete the training split, or take another subset"
        )
