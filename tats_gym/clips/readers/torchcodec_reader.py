"""The reader that decodes with torchcodec."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers.pyav_reader import frame_times
from tats_gym.clips.readers.time_span import FrameTimes
from tats_gym.clips.readers.video_reader import check_indices, decode_error


class TorchcodecReader:
    """Reads frames with torchcodec, on one thread.

    A known defect of torchcodec 0.17: like decord, it returns wrong frames from an AVI whose MPEG-4 B-frames lie in
    packets of their own.

    Raises:
        ImportError: If torchcodec is not installed or finds no FFmpeg.
    """

    def __init__(self, path: Path) -> None:
        try:
            import torchcodec
        except ImportError as err:
            raise ImportError("reader 'torchcodec' needs the package: pip install 'tats-gym[torchcodec]'") from err
        if torchcodec.ffmpeg_major_version is None:
            raise ImportError("reader 'torchcodec' needs FFmpeg's shared libraries, version 4 or later: install ffmpeg")
        self._path = path
        self._open = partial(torchcodec.decoders.VideoDecoder, str(path), dimension_order="NHWC", device="cpu")
        try:
            self._video = self._open()
        except (RuntimeError, ValueError) as err:
            raise decode_error(path, err) from err
        self.fps = float(self._video.metadata.average_fps or 0)

    def __len__(self) -> int:
        return len(self._video)

    def times(self) -> FrameTimes:
        """Return the times of all frames as PyAV gives them, so that a segment has the same frames in every reader."""
        return frame_times(self._path)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        try:
            frames: NDArray[np.uint8] = self._video.get_frames_at(list(indices)).data.numpy()
        except RuntimeError as err:
            self._video = self._open()  # after one failure, every frame fails
            raise decode_error(self._path, err) from err
        return frames  # (T, H, W, C)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video = ()  # torchcodec closes a video with its last reference
