"""Clips: listing, reading and cropping videos, and the stream that yields the clips."""

from tats_gym.clips.batch import ClipBatch
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.datasets.listing import Video, VideoList, list_videos
from tats_gym.clips.paths import MissingDataError, data_root
from tats_gym.clips.readers import VideoReader, VideoReadError, open_video
from tats_gym.clips.streaming.fixed_clips import FixedClips
from tats_gym.clips.streaming.stream import ClipStream

__all__ = [
    "ClipBatch",
    "ClipConfig",
    "ClipStream",
    "FixedClips",
    "MissingDataError",
    "Video",
    "VideoList",
    "VideoReadError",
    "VideoReader",
    "data_root",
    "list_videos",
    "open_video",
]
