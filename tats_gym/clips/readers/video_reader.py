"""The protocol of an open video, and the error of one that cannot be read."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

Placed = Iterator[tuple[int, av.VideoFrame]]
"""Frames, each with its place among those that were asked for."""


class VideoReadError(OSError):
    """A video cannot be opened or decoded; the message names the path and the cause."""


class VideoReader(Protocol):
    """An open video; frame i is the i-th that a decode from the beginning gives, turned as it is to be shown."""

    fps: float
    """Mean frames a second, 0 where the container does not say."""

    def __len__(self) -> int: ...

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """RGB frames (T, H, W, 3) at `indices`, in that order; an index may repeat.

        Raises:
            VideoReadError: A frame lies beyond the end, or does not decode.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def facts_of(path: Path) -> os.stat_result:
    """Ask the disk about a video's file; raises VideoReadError where there is none, or the disk does not answer."""
    try:
        facts = path.stat()
    except OSError as err:
        raise VideoReadError(f"{path}: {err.strerror}") from err
    if not stat.S_ISREG(facts.st_mode):
        raise VideoReadError(f"{path}: it is no file")
    return facts


def check_indices(indices: Sequence[int], length: int, path: Path) -> None:
    """Raise IndexError for indices that no video has, VideoReadError for those beyond the end of this one."""
    if len(indices) == 0:
        raise ValueError("indices must name at least one frame, got none")
    if min(indices) < 0:
        raise IndexError(f"indices must not be negative, got {min(indices)}")
    if max(indices) >= length:
        raise VideoReadError(f"{path}: frame {max(indices)} was asked for, it has {length}")


def frame_missing(path: Path, index: int, length: int, err: Exception | None) -> VideoReadError:
    """The error for a frame that does not come, with the library's reason if it gave one."""
    return VideoReadError(f"{path}: frame {index} of {length} does not decode{f' ({reason(err)})' if err else ''}")


def undecodable(path: Path, err: Exception) -> VideoReadError:
    """The error for a file that a library refuses, with the library's reason."""
    return VideoReadError(f"{path}: it does not decode ({reason(err)})")


def reason(err: Exception) -> str:
    """The first line of a library's error."""
    return (str(err) or type(err).__name__).splitlines()[0]
