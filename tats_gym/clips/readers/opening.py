"""The table of readers, and the opening of a video by one of them."""

from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from tats_gym.clips.readers.video_reader import VideoReader, VideoReadError, file_status
from tats_gym.files.messages import check_choice

Reader = Literal["auto", "decord", "pyav", "torchcodec"]
READERS: tuple[Reader, ...] = get_args(Reader)

READER_CLASSES: dict[Reader, str] = {
    "auto": "tats_gym.clips.readers.pyav_reader:PyAVReader",
    "pyav": "tats_gym.clips.readers.pyav_reader:PyAVReader",
    "decord": "tats_gym.clips.readers.decord_reader:DecordReader",
    "torchcodec": "tats_gym.clips.readers.torchcodec_reader:TorchcodecReader",
}
"""`module:class` of each reader; its library is imported with the first video that it opens."""


def open_video(path: str | Path, reader: Reader = "auto") -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: "auto" takes PyAV, the only one of the three that reads every file of the tests correctly, and the
            fastest. The choice does not depend on the file.

    Raises:
        ValueError: If there is no such reader.
        VideoReadError: If the file is missing, empty, or holds no video that the reader can decode.
        ImportError: If the reader needs a package that is not installed.
    """
    check_choice("reader", reader, READERS)
    path = Path(path).absolute()  # a relative name with a colon would be parsed as a protocol
    if file_status(path).st_size == 0:
        raise VideoReadError(f"{path}: the file is empty")
    module, _, name = READER_CLASSES[reader].partition(":")
    opened: VideoReader = getattr(import_module(module), name)(path)
    return opened
