"""Compares a few frames that a reader returns with those of a decode from the beginning."""

from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers import VideoReader, VideoReadError
from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.orientation import orientation_of

SAMPLED_FRAMES = (20, 7)
"""Indices of the compared frames; each is read alone and the last first, so that the reader has to seek."""
TOLERANCE = 1.0
"""Largest mean difference between two decoders in a frame's pixels, on a scale of 255."""


def returns_wrong_frames(video: VideoReader, path: Path) -> bool:
    """Compare some of the first frames with a decode from the beginning by PyAV; True if one differs.

    A frame that does not decode passes: the reader raises an error and returns no wrong frame.

    Raises:
        VideoReadError: If PyAV opens no video in the file.
    """
    for index, expected in sorted(_sample(path).items(), reverse=True):
        with suppress(VideoReadError):
            frame = video.get_batch([index])[0]  # (H, W, C)
            if frame.shape != expected.shape:
                return True
            if np.abs(frame.astype(np.int16) - expected).mean() > TOLERANCE:
                return True
    return False


def _sample(path: Path) -> dict[int, NDArray[np.uint8]]:
    """Decode the compared frames (H, W, C) from the beginning, by index."""
    frames: dict[int, NDArray[np.uint8]] = {}
    with closing(Container(path)) as container, suppress(av.FFmpegError):
        for number, frame in enumerate(islice(container.frames(), SAMPLED_FRAMES[0] + 1)):
            if number in SAMPLED_FRAMES:
                pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
                frames[number] = orientation_of(frame).apply(pixels)
    return frames
