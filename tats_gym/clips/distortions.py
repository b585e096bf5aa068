"""Augmentations that change pixel values: RandAugment and random erasing."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tats_gym.clips.augment import random_box
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.train.memory import out_of_memory

ERASED_SHARE = (0.02, 1 / 3)
"""Range of the erased box's share of the frame."""
ERASED_RATIO = (0.3, 1 / 0.3)
"""Range of the erased box's width over its height."""


class DistortionError(Exception):
    """An augmentation failed on a clip; the message names the operation and the cause."""


@contextmanager
def distorting(operation: str) -> Iterator[None]:
    """Translate an error of an operation into one that names it; out-of-memory errors pass unchanged.

    Raises:
        DistortionError: If the operation raised an error.
    """
    try:
        yield
    except Exception as err:
        if out_of_memory(err):
            raise
        raise DistortionError(f"{operation}: {err if isinstance(err, DistortionError) else repr(err)}") from err


class RandAugment:
    """timm's RandAugment with the same operations, magnitudes and signs on every frame of a clip.

    As in VideoMAE, it works on whole frames, interpolates bicubically and fills uncovered pixels with grey 128.
    Posterising to 0 bits makes a black picture in every version of Pillow; since 13, its own `posterize` rejects 0.

    Args:
        policy: Such as "rand-m9-n2-mstd0.5-inc1", see `timm.data.rand_augment_transform`.

    Raises:
        ValueError: If timm rejects the policy.
    """

    def __init__(self, policy: str) -> None:
        from timm.data.auto_augment import rand_augment_transform  # takes seconds, and few streams need it

        try:
            self._augment = rand_augment_transform(policy, {"interpolation": Image.Resampling.BICUBIC})
            for operation in self._augment.ops:
                operation.aug_fn = partial(_named, operation.name, operation.aug_fn)
            self(np.zeros((1, 1, 1, 3), np.uint8), np.random.default_rng(0))  # some policies fail on every picture
        except (AssertionError, ValueError) as err:
            raise ValueError(f"randaug must be a policy that timm can follow, got {policy!r}: {err}") from err

    def __call__(self, frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return augmented copies of frames (T, H, W, C)."""
        changed = np.empty_like(frames)
        seed = int(rng.integers(2**32))
        with _global_states_kept():
            for frame, out in zip(frames, changed, strict=True):
                random.seed(seed)  # timm draws from the global generators, anew for each picture
                np.random.seed(seed)  # noqa: NPY002
                out[:] = self._augment(Image.fromarray(frame))
        return changed


def _named(
    operation: str, change: Callable[..., Image.Image], picture: Image.Image, *strength: Any, **settings: Any
) -> Image.Image:
    """Apply one of timm's operations; an error names the operation and its magnitude."""
    with distorting(f"{operation}{strength}"):
        if operation.startswith("Posterize") and strength[0] <= 0:
            return Image.new(picture.mode, picture.size)
        return change(picture, *strength, **settings)


@contextmanager
def _global_states_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def erase(clip: Tensor, rng: np.random.Generator) -> None:
    """Fill the same random box of every frame of a clip (C, T, H, W), uint8, with noise, in place.

    Random erasing (https://arxiv.org/abs/1708.04896) as in VideoMAE: each pixel is drawn from a normal distribution
    with ImageNet's mean and std and clipped to [0, 255]. If none of 10 boxes fits, the clip stays
    unchanged.
    """
    height, width = clip.shape[-2:]
    box = random_box(height, width, rng, ERASED_SHARE, ERASED_RATIO)
    if box is None:
        return
    top, left, tall, wide = box
    for channel, mean, std in zip(clip, IMAGENET_MEAN, IMAGENET_STD, strict=True):
        noise = 255 * (mean + std * rng.standard_normal((len(channel), tall, wide), dtype=np.float32))
        pixels = noise.round().clip(0, 255).astype(np.uint8)  # (T, h, w)
        channel[:, top : top + tall, left : left + wide] = torch.from_numpy(pixels)
