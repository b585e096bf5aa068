"""A memory cache of decoded videos for small datasets: after the first epoch, clips are only cropped."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers import VideoReader, VideoReadError, check_indices, open_video


class CachedVideo:
    """A `VideoReader` of a video whose frames lie in memory."""

    def __init__(self, path: Path, frames: NDArray[np.uint8], fps: float) -> None:
        self._path, self._frames, self.fps = path, frames, fps

    def __len__(self) -> int:
        return len(self._frames)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        return self._frames[list(indices)]  # (T, H, W, C)

    def close(self) -> None:
        """Keep the frames for the next clips."""


class VideoCache:
    """Opens videos, and keeps them decoded until its memory is used up.

    Videos are never evicted: in a dataset that does not fit, each would be evicted just before its next use.

    Args:
        size_mib: Memory for frames in MiB; 0 keeps none.
        reader: Library that decodes, see `open_video`.
    """

    def __init__(self, size_mib: int, reader: str) -> None:
        self.reader = reader
        self._free_bytes = size_mib * 2**20
        self._cached: dict[Path, CachedVideo] = {}

    def open(self, path: Path) -> VideoReader:
        """Open a video; raises as `open_video` does."""
        if path in self._cached:
            return self._cached[path]
        video = open_video(path, self.reader)
        if not self._free_bytes:
            return video
        try:
            size = video.get_batch([0]).nbytes * len(video)
            if size > self._free_bytes:
                self._free_bytes = 0
                return video
            frames = video.get_batch(range(len(video)))
        except VideoReadError:  # clips can still be cut from the part that decodes, as without a cache
            video.close()
            return open_video(path, self.reader)
        video.close()
        self._free_bytes -= size
        self._cached[path] = CachedVideo(path, frames, video.fps)
        return self._cached[path]
