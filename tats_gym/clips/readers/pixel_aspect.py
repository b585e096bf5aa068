"""The shape of a video's pixels, where its file says that they are not square."""

from contextlib import closing
from functools import lru_cache
from pathlib import Path

import av

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.counted_frames import CACHED_COUNTS
from tats_gym.clips.readers.orientation import orientation_of
from tats_gym.clips.readers.video_reader import VideoReadError, decode_error, file_version


def pixel_aspect(path: Path) -> float:
    """Return the width of a video's pixels over their height, as displayed; 1 where the file does not say.

    The container's number counts before the codec's, as for FFmpeg. A video that is shown turned by a quarter has its
    pixels turned.

    Raises:
        VideoReadError: If the file holds no video that PyAV can decode.
    """
    return _pixel_aspect(path, file_version(path))


@lru_cache(CACHED_COUNTS)
def _pixel_aspect(path: Path, version: tuple[int, int, int]) -> float:
    """Read the ratio once for each version of a file."""
    with closing(Container(path)) as container:
        ratio = container.pixel_aspect
        if ratio == 1:
            return 1.0
        try:
            first = next(container.frames(), None)
        except av.FFmpegError as err:
            raise decode_error(path, err) from err
        if first is None:
            raise VideoReadError(f"{path}: it holds no frame")
        return float(1 / ratio if orientation_of(first).transposed else ratio)
