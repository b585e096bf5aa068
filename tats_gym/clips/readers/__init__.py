"""Readers of chosen frames: PyAV, decord, torchcodec, images and a dataset's own behind one small protocol."""

from tats_gym.clips.readers.opening import READERS, Reader, in_video_file, open_video, pixel_aspect_of
from tats_gym.clips.readers.time_span import TimeSpan, split_span
from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, check_indices, source_status

__all__ = [
    "READERS",
    "Reader",
    "TimeSpan",
    "VideoReadError",
    "VideoReader",
    "check_indices",
    "in_video_file",
    "open_video",
    "pixel_aspect_of",
    "source_status",
    "split_span",
]
