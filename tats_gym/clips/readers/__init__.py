"""Readers of chosen video frames: PyAV, decord and torchcodec behind one small protocol."""

from tats_gym.clips.readers.opening import READERS, Reader, open_video
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
