"""Files that hold videos or images: their suffixes, and the videos below folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path

VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v"),
    *(".mpg", ".mpeg", ".3gp", ".wmv", ".flv", ".ts", ".ogv"),
)
"""Suffixes that make a file a video, in lower case."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Suffixes that make a file an image, a frame of a video or a clip of one frame, in lower case."""


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths`, and the videos below the folders among them, except hidden ones.

    Raises:
        FileNotFoundError: If a path does not exist, or no file is a video.
    """
    videos: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: there is no such file or folder")
        videos += sorted(_videos_below(path)) if path.is_dir() else [path]
    if not videos:
        raise FileNotFoundError(f"no file below {', '.join(map(str, paths))} is a video ({' '.join(VIDEO_SUFFIXES)})")
    return videos


def _videos_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not hidden:
            yield path
