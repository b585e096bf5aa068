"""The suffixes of files that hold videos, and of those that hold images."""

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"),
    *(".mpg", ".mpeg", ".3gp", ".wmv", ".flv", ".ts", ".ogv"),
)
"""Suffixes that make a file a video, in lower case."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes that make a file an image, a frame of a video or a clip of one frame, in lower case."""
