"""The protocol of video readers, and the errors of unreadable videos."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tats_gym.messages import first_line

if TYPE_CHECKING:  # PyAV is imported with the reader that uses it
    import av

PlacedFrames = Iterator[tuple[int, "av.VideoFrame"]]
"""Frames, each with its place among the wanted ones."""


class VideoReadError(OSError):
    """A video cannot be opened or decoded; the message names the path and the cause."""


class VideoReader(Protocol):
    """An open video; frame i is the i-th of a decode from the beginning, in display orientation."""

    fps: float
    """Mean frames per second, 0 where the container does not give it."""

    def __len__(self) -> int: ...

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decode the RGB frames (T, H, W, C) at `indices`, in that order; an index may repeat.

        Raises:
            VideoReadError: If a frame lies beyond the end or does not decode.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def file_status(path: Path) -> os.stat_result:
    """Return the status of a video's file; raises VideoReadError where it is missing or the disk fails."""
    try:
        status = path.stat()
    except OSError as err:
        raise VideoReadError(f"{path}: {err.strerror}") from err
    if not stat.S_ISREG(status.st_mode):
        raise VideoReadError(f"{path}: it is not a regular file")
    return status


def file_version(path: Path) -> tuple[int, int, int]:
    """Return inode, size and time of a video's file, which a replaced one does not share.

    Raises:
        VideoReadError: If it is missing, or no regular file.
    """
    status = file_status(path)
    return status.st_ino, status.st_size, status.st_mtime_ns


def source_status(path: Path) -> os.stat_result:
    """Return the status of the file or folder that holds a video, for a path that may lead on into an archive.

    Raises:
        VideoReadError: If it is missing or the disk fails.
    """
    try:
        return path.stat()
    except NotADirectoryError:
        return source_status(path.parent)
    except OSError as err:
        raise VideoReadError(f"{path}: {err.strerror}") from err


def check_indices(indices: Sequence[int], length: int, path: Path) -> None:
    """Raise ValueError for no indices, IndexError for negative ones, VideoReadError for those beyond the end."""
    if len(indices) == 0:
        raise ValueError("indices must name at least one frame, got none")
    if min(indices) < 0:
        raise IndexError(f"indices must not be negative, got {min(indices)}")
    if max(indices) >= length:
        raise VideoReadError(f"{path}: frame {max(indices)} was asked for, it has {length}")


def frame_error(path: Path, index: int, length: int, err: Exception | None) -> VideoReadError:
    """Return the error for a frame that does not decode, with the library's reason if there is one."""
    return VideoReadError(f"{path}: frame {index} of {length} does not decode{f' ({first_line(err)})' if err else ''}")


def decode_error(path: Path, err: Exception) -> VideoReadError:
    """Return the error for a file that a library cannot decode, with the library's reason."""
    return VideoReadError(f"{path}: it does not decode ({first_line(err)})")
