"""Readers of chosen frames: PyAV, decord, torchcodec, images and a dataset's own behind one small protocol."""

from tats_gym.clips.readers.opening import READERS, Reader, in_video_file, open_video
from tats_gym.clips.readers.time_span import SpanReader, TimeSpan, split_span
from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, check_indices, source_status

__all__ = [
    "READERS",
    "Reader",
    "SpanReader",
    "TimeSpan",
    "VideoReadError",
    "VideoReader",
    "check_indices",
    "in_video_file",
    "open_video",
    "source_status",
    "split_span",
]
