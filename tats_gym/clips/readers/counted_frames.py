"""Frames of a file whose packet times are unreliable: decoded from the beginning and counted."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import av

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.video_reader import PlacedFrames, frame_error

CACHED_COUNTS = 1 << 16
"""Files whose frame count a process caches."""


class CountedFrames:
    """Finds frames by counting; continues from the last frame, so that reading in order decodes each frame once."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._length = _count_frames(container.path, container.version)
        self._decoded: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next_index = self._length

    def __len__(self) -> int:
        return self._length

    def decode(self, wanted: Sequence[int]) -> PlacedFrames:
        """Yield the frames at the ascending indices `wanted`, each with its place among them.

        Raises:
            VideoReadError: If a wanted frame is damaged, or a packet before it does not decode.
        """
        if wanted[0] < self._next_index:
            self._decoded = enumerate(self._container.frames())
        place = 0
        try:
            for number, frame in self._decoded:
                self._next_index = number + 1
                if number == wanted[place]:
                    if frame.is_corrupt:
                        break
                    yield place, frame
                    place += 1
                    if place == len(wanted):
                        return
        except av.FFmpegError as err:
            self._next_index = self._length
            raise frame_error(self._container.path, wanted[place], len(self), err) from err
        raise frame_error(self._container.path, wanted[place], len(self), None)


@lru_cache(CACHED_COUNTS)
def _count_frames(path: Path, version: tuple[int, int, int]) -> int:
    """Count the frames of a file, once for each version of it."""
    container = Container(path)
    try:
        return container.count_frames()
    finally:
        container.close()
