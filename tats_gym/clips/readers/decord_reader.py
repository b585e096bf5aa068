"""The reader that decodes with decord."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.readers.pyav_reader import frame_times
from tats_gym.clips.readers.time_span import FrameTimes
from tats_gym.clips.readers.video_reader import check_indices, decode_error


class DecordReader:
    """Reads frames with decord, on one thread.

    Known defects of decord 0.6, none of which PyAV has:

    - It returns wrong frames, without an error, from an AVI whose MPEG-4 B-frames lie in packets of their own,
      from an MP4 whose edit list hides frames, as cutting without re-encoding leaves it, and from an MPEG-TS with
      B-frames.
    - It does not open an MP4 that ends before its index says, nor a WebM of one frame, and refuses some frames
      less than 64 pixels wide.
    - It decodes ahead: where a packet does not decode, frames well before it sometimes fail too, and after such a
      failure every frame fails.
    - It counts packets without a picture as frames. On some such files it hangs and cannot be interrupted
      (dmlc/decord#373 and #375); on those of the tests it raises.

    Raises:
        ImportError: If decord is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import decord
        except ImportError as err:
            raise ImportError(
                "reader 'decord' needs the package: pip install decord (Linux on x86-64); 'pyav' needs nothing more"
            ) from err
        decord.logging.set_level(decord.logging.QUIET)
        self._path = path
        self._errors = (decord.DECORDError, RuntimeError)
        try:
            self._video = decord.VideoReader(str(path), num_threads=1)
        except self._errors as err:
            raise decode_error(path, err) from err
        self.fps = float(self._video.get_avg_fps())

    def __len__(self) -> int:
        return len(self._video)

    def times(self) -> FrameTimes:
        """Return the times of all frames as PyAV gives them, so that a segment has the same frames in every reader."""
        return frame_times(self._path)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        try:
            frames: NDArray[np.uint8] = self._video.get_batch(list(indices)).asnumpy()
        except self._errors as err:
            raise decode_error(self._path, err) from err
        return frames  # (T, H, W, C)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video = ()  # decord closes a video with its last reference
