"""Readers of chosen video frames: PyAV, decord and torchcodec behind one small protocol.

A library is imported with the first video that it opens.
"""

from pathlib import Path
from typing import Literal, get_args

from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, check_indices, file_status

__all__ = [
    "READERS",
    "Reader",
    "VideoReadError",
    "VideoReader",
    "check_indices",
    "file_status",
    "open_video",
]

Reader = Literal["auto", "decord", "pyav", "torchcodec"]
READERS: tuple[Reader, ...] = get_args(Reader)


def open_video(path: str | Path, reader: Reader = "auto") -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: "auto" takes PyAV, the only one of the three that reads every file of the tests correctly, and the
            fastest. The choice does not depend on the file.

    Raises:
        VideoReadError: The file is missing, empty, or holds no video that the reader can decode.
        ImportError: The reader needs a package that is not installed.
    """
    path = Path(path).absolute()  # a relative name with a colon would be parsed as a protocol
    if file_status(path).st_size == 0:
        raise VideoReadError(f"{path}: the file is empty")
    if reader in ("auto", "pyav"):
        from tats_gym.clips.readers.pyav_reader import PyAVReader

        return PyAVReader(path)
    if reader == "decord":
        from tats_gym.clips.readers.decord_reader import DecordReader

        return DecordReader(path)
    if reader == "torchcodec":
        from tats_gym.clips.readers.torchcodec_reader import TorchcodecReader

        return TorchcodecReader(path)
    raise ValueError(f"reader must be one of {READERS}, got {reader!r}")
