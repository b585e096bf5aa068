"""Measures how much of each token the objects of the demo clips cover."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from tats_gym.clips.augment import Sampling, centre_crop_box, crop_and_resize, view_windows
from tats_gym.clips.demo.files import FIRST_ID
from tats_gym.clips.demo.scenes import render_demo_clip
from tats_gym.clips.streaming.stream import ClipStream
from tats_gym.tokens import TokenGrid


class Coverage(NamedTuple):
    """Shares of each token's pixels, in [0, 1]."""

    objects: Tensor
    """Covered by any object (n, L), float32."""
    acting: Tensor
    """Covered by the one or two objects that the label is about (n, L), float32."""


def object_coverage(stream: ClipStream, ids: Sequence[int], grid: TokenGrid) -> Coverage:
    """Return how much of each token the objects cover in the demo clips that `stream.centre(ids)` shows.

    The scenes are rendered again, since the videos hold no object masks; edges are as soft as in the clip.

    Args:
        stream: Clips of the demo data.
        ids: Indices in the stream's list of videos.
        grid: How the stream's clips divide into tokens.

    Raises:
        ValueError: If the stream reads other data.
    """
    if stream.config.data != "demo":
        raise ValueError(f"data must be 'demo', whose objects are known, got {stream.config.data!r}")
    shares = torch.empty(len(ids), 2, grid.num_tokens)
    for row, id_ in zip(shares, ids, strict=True):
        index = int(stream.videos.videos[id_].path.stem) - FIRST_ID[stream.config.split]
        row[:] = _shares(stream.config.split, index, stream.config.stride, stream.config.sampling, grid)
    return Coverage(*shares.unbind(1))


@lru_cache(maxsize=512)
def _shares(split: str, index: int, stride: int, sampling: Sampling, grid: TokenGrid) -> Tensor:
    """Return a clip's shares (2, L), any object and acting ones, from its masks in the same centre view."""
    clip = render_demo_clip(split, index)
    (chosen,) = view_windows(len(clip.frames), grid.frames, stride, sampling, 1)
    objects, acting = clip.objects[chosen], clip.acting[chosen]
    masks = 255 * np.stack([objects, acting, np.zeros_like(acting)], axis=-1, dtype=np.uint8)  # (T, H, W, C)
    view = crop_and_resize(masks, centre_crop_box(*acting.shape[1:]), grid.size)  # (C, T, H, W)
    tokens = rearrange(grid.cut(view[None]), "1 l (c p) -> c l p", c=len(view))
    return tokens[:2].float().mean(-1) / 255
