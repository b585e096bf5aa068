"""The suffixes of files that hold videos."""

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"),
    *(".mpg", ".mpeg", ".3gp", ".wmv", ".flv", ".ts", ".ogv"),
)
"""Suffixes that make a file a video, in lower case."""
