"""Segments of videos: paths that name a time span of a file, and a reader of its frames alone."""

import os
import re
from bisect import bisect_left
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, check_indices

SPAN = re.compile(r"(.+)#t=([0-9]+(?:\.[0-9]+)?),([0-9]+(?:\.[0-9]+)?)", re.DOTALL)
"""A path with a time span in seconds, a temporal dimension of W3C's Media Fragments URI 1.0 (4.2.1)."""

OVERHANG_S = 1.0
"""Longest time, in seconds, by which a segment may end after the last frame: annotations are rounded."""


class TimeSpan(NamedTuple):
    """The times at which a segment's frames are shown, [start, end), in seconds after the video's first frame."""

    start_s: Decimal
    """Seconds from the video's first frame, included."""
    end_s: Decimal
    """Seconds from the video's first frame, excluded."""

    def within(self, path: str | Path) -> str:
        """Return the path of this segment of a video; equal times give equal paths."""
        start, end = (format(time.normalize(), "f") for time in self)
        return f"{path}#t={start},{end}"


class FrameTimes(NamedTuple):
    """The times at which a video's frames are shown, ascending."""

    shown_at: Sequence[int]
    unit_s: Fraction
    """Unit of the times in seconds."""

    @classmethod
    def even(cls, length: int, fps: float) -> "FrameTimes":
        """Return the times of frames that are shown for equally long.

        Raises:
            ValueError: If there is no frame rate, as for a folder of frames.
        """
        if not fps > 0:
            raise ValueError("times in seconds need a frame rate, which it does not have")
        return cls(range(length), 1 / Fraction(fps).limit_denominator(1001))  # restores 30000/1001 from a float

    def frames(self, span: TimeSpan) -> range:
        """Return the indices of the frames that are shown within a span; the first frame is shown at 0.

        Raises:
            ValueError: If there are none, or the span ends well after the last frame.
        """
        first, last = self.shown_at[0], self.shown_at[-1]
        length_s = (last - first) * self.unit_s
        frame_s = length_s / max(len(self.shown_at) - 1, 1)
        if Fraction(span.end_s) > length_s + frame_s + Fraction(OVERHANG_S):
            raise ValueError(f"it must end by the last frame, which is shown at {float(length_s):.3f} s")
        start, end = (first + ceil(Fraction(time) / self.unit_s) for time in span)
        indices = range(bisect_left(self.shown_at, start), bisect_left(self.shown_at, end))
        if not indices:
            raise ValueError(f"it must hold a frame; there is one every {float(frame_s):.3f} s")
        return indices


@runtime_checkable
class TimedReader(Protocol):
    """A `VideoReader` that knows when each frame is shown; segments of others are found by their frame rate."""

    def times(self) -> FrameTimes:
        """Return the times of all frames."""
        ...


class SpanReader:
    """A `VideoReader` of the frames of a segment; closing it closes the video.

    Args:
        path: Path of the segment.
        video: The whole video.
        span: Times of the segment.

    Raises:
        VideoReadError: If the video has no frame rate, or no frame within the span.
    """

    def __init__(self, path: Path, video: VideoReader, span: TimeSpan) -> None:
        self.fps = video.fps
        self._path, self._video = path, video
        try:
            times = video.times() if isinstance(video, TimedReader) else FrameTimes.even(len(video), video.fps)
            self._frames = times.frames(span)
        except ValueError as err:
            raise VideoReadError(
                f"{path}: the segment does not fit its video: {err}; correct it or leave it out"
            ) from err

    def __len__(self) -> int:
        return len(self._frames)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        try:
            return self._video.get_batch([self._frames[index] for index in indices])  # (T, H, W, C)
        except VideoReadError as err:
            raise VideoReadError(f"{self._path}: {err}") from err

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video.close()


def split_span(path: str | Path) -> tuple[Path, TimeSpan | None]:
    """Split the path of a segment into that of its video and its times; None for whole videos.

    A file or folder of that very name is a whole video.
    """
    match = SPAN.fullmatch(str(path))
    if not match or os.path.exists(path):
        return Path(path), None
    return Path(match[1]), TimeSpan(Decimal(match[2]), Decimal(match[3]))
