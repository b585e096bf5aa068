"""Chooses clips evenly over a list, and reads those that can be read."""

import logging
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.streaming.stream import ClipStream

logger = logging.getLogger(__name__)

T = TypeVar("T")


def evenly_spaced(values: Sequence[T], count: int) -> list[T]:
    """Choose `count` values, the first and the last among them; all where there are fewer."""
    count = min(count, len(values))
    return [values[place] for place in np.linspace(0, len(values) - 1, count).round().astype(int)]


def readable_clips(stream: ClipStream, ids: Iterable[int], count: int) -> dict[int, Tensor]:
    """Read the first `count` clips that can be read, in their centre view; a clip that cannot be read is logged.

    Returns:
        Clip id to pixels (1, C, T, H, W), in the order of `ids`.
    """
    clips: dict[int, Tensor] = {}
    for id_ in ids:
        if len(clips) == count:
            break
        try:
            clips[id_] = stream.centre([id_]).pixels
        except VideoReadError as err:
            logger.warning("left out: %s", err)
    return clips
