"""The reader that decodes with PyAV; its frames are always those of a decode from the beginning."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.counted_frames import CountedFrames
from tats_gym.clips.readers.frame_order import kept_order
from tats_gym.clips.readers.orientation import orientation_of
from tats_gym.clips.readers.time_span import FrameTimes
from tats_gym.clips.readers.timed_frames import TimedFrames
from tats_gym.clips.readers.video_reader import PlacedFrames, VideoReadError, check_indices, decode_error
from tats_gym.tokens import CHANNELS


class PyAVReader:
    """Reads frames with PyAV, on one thread.

    Where the packets' times are reliable, they tell the packet of each frame, and decoding starts at the keyframe
    before the wanted frames. Elsewhere (AVI with B-frames, bare streams, Ogg, ASF, recordings that begin between two
    keyframes) the file is decoded from its beginning and its frames are counted.

    Raises:
        VideoReadError: If the file holds no video that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = Container(path)
        self.fps = self._container.fps
        try:
            order = self._order = kept_order(self._container)
            self._frames = TimedFrames(self._container, order) if order else CountedFrames(self._container)
            if not len(self._frames):
                raise VideoReadError(f"{path}: it holds no frame from which decoding could start")
        except av.FFmpegError as err:
            self.close()
            raise decode_error(path, err) from err
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._frames)

    def times(self) -> FrameTimes:
        """Return the times of all frames; where only decoding shows them, frames are taken as evenly spaced.

        Raises:
            ValueError: If neither its times nor its frame rate are known.
        """
        if self._order:
            return FrameTimes(self._order.times, self._container.time_base)
        return FrameTimes.even(len(self), self.fps)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        wanted = sorted(set(indices))
        try:
            frames = _convert(self._frames.decode(wanted), len(wanted))
        except (av.FFmpegError, MemoryError) as err:
            raise decode_error(self._path, err) from err
        if wanted == list(indices):
            return frames
        return frames[np.searchsorted(wanted, indices)]  # (T, H, W, C)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()


def frame_times(path: Path) -> FrameTimes:
    """Return the times of a video's frames; raises VideoReadError as `PyAVReader` does."""
    with closing(PyAVReader(path)) as video:
        return video.times()


def _convert(frames: PlacedFrames, count: int) -> NDArray[np.uint8]:
    """Convert `count` frames to RGB, in the display size and orientation of the first one yielded."""
    reformatter = VideoReformatter()
    pixels: NDArray[np.uint8] | None = None
    for place, frame in frames:
        if pixels is None:
            height, width, orientation = frame.height, frame.width, orientation_of(frame)
            pixels = np.empty((count, height, width, CHANNELS), np.uint8)
        pixels[place] = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
    assert pixels is not None
    return orientation.apply(pixels)  # (T, H, W, C)
