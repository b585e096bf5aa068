"""The table of readers, and the opening of a video by one of them, or of images."""

import os
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Literal, get_args

from tats_gym.clips.readers.time_span import SpanReader, split_span
from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, file_status
from tats_gym.files.video_files import IMAGE_SUFFIXES
from tats_gym.messages import check_choice

Reader = Literal["auto", "decord", "pyav", "torchcodec"]
READERS: tuple[Reader, ...] = get_args(Reader)

READER_CLASSES: dict[str, str] = {
    "auto": "tats_gym.clips.readers.pyav_reader:PyAVReader",
    "pyav": "tats_gym.clips.readers.pyav_reader:PyAVReader",
    "decord": "tats_gym.clips.readers.decord_reader:DecordReader",
    "torchcodec": "tats_gym.clips.readers.torchcodec_reader:TorchcodecReader",
}
"""`module:class` of each reader; its library is imported with the first video that it opens."""
IMAGES = "tats_gym.clips.readers.image_reader:ImageReader"
PIXEL_ASPECT = "tats_gym.clips.readers.pixel_aspect:pixel_aspect"


def open_video(path: str | Path, reader: str = "auto") -> VideoReader:
    """Open a video, a segment of one, an image as a video of one frame, or a folder of images as the frames of one.

    Args:
        path: The file or folder; for a segment `PATH#t=START,END`, times in seconds, see `TimeSpan`.
        reader: Library that decodes video files. "auto" takes PyAV, the only one of the three that reads every file of
            the tests correctly, and the fastest; the choice does not depend on the file. A text with a colon is
            `module:class` of a dataset's own reader, which opens any path.

    Raises:
        ValueError: If there is no such reader.
        VideoReadError: If the file is missing, empty, or holds no video that the reader can decode, or the segment
            lies outside of it.
        ImportError: If the reader needs a package that is not installed.
    """
    whole, span = split_span(path)
    video = _open_whole(whole, reader)
    if span is None:
        return video
    try:
        return SpanReader(Path(path).absolute(), video, span)
    except BaseException:
        video.close()
        raise


def _open_whole(path: Path, reader: str) -> VideoReader:
    if ":" in reader:
        return _opened(reader, path)
    check_choice("reader", reader, READERS)
    path = path.absolute()  # a relative name with a colon would be parsed as a protocol
    if not in_video_file(path, reader):
        return _opened(IMAGES, path)
    if file_status(path).st_size == 0:
        raise VideoReadError(f"{path}: the file is empty")
    return _opened(READER_CLASSES[reader], path)


def pixel_aspect_of(path: str | Path, reader: str = "auto") -> float:
    """Return the width of a video's pixels over their height, see `pixel_aspect`: the same for all readers of files.

    Args:
        path: As for `open_video`; images and videos of a dataset's own reader have square pixels, 1.
        reader: As for `open_video`.

    Raises:
        VideoReadError: If the file is missing or cannot be decoded.
    """
    whole, _ = split_span(path)
    if not in_video_file(whole, reader):
        return 1.0
    measure: Callable[[Path], float] = resolve_name(PIXEL_ASPECT)
    return measure(whole.absolute())


def in_video_file(path: Path, reader: str) -> bool:
    """Return whether `open_video` decodes a video file there, not images and not with a dataset's own reader."""
    return not (":" in reader or path.suffix.lower() in IMAGE_SUFFIXES or os.path.isdir(path))


def _opened(reader: str, path: Path) -> VideoReader:
    """Import a reader's `module:class`, and open a path with it."""
    opened: VideoReader = resolve_name(reader)(path)
    return opened
