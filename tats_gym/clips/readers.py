"""Reads chosen frames of a video file, through decord or PyAV behind one small protocol."""

import importlib.util
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import av
import numpy as np
from numpy.typing import NDArray

Reader = Literal["auto", "decord", "pyav"]
READERS: tuple[Reader, ...] = get_args(Reader)

SEEK_GAP = 8
"""Frames that are cheaper to decode than to jump over."""


class VideoReadError(OSError):
    """A video cannot be opened or decoded; the message names the path and the cause."""


class VideoReader(Protocol):
    """An open video; its frames are counted in the order in which they are shown."""

    fps: float
    """Mean frames a second, 0 where the container does not say."""

    def __len__(self) -> int: ...

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """RGB frames (T, H, W, 3) at `indices`, in that order; an index may repeat.

        Raises:
            VideoReadError: A frame lies beyond the end, or does not decode.
        """
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class DecordReader:
    """Frames through decord, on one thread.

    Two limits of decord 0.6: frames less than 64 pixels wide may be refused, and B-frames in an AVI, whose
    packets carry no presentation times, come back as the wrong frames.
    """

    def __init__(self, path: Path) -> None:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        self._path = path
        self._errors = (decord.DECORDError, RuntimeError)
        try:
            self._video = decord.VideoReader(str(path), num_threads=1)
        except self._errors as err:
            raise _undecodable(path, err) from err
        self.fps = float(self._video.get_avg_fps())

    def __len__(self) -> int:
        return len(self._video)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        try:
            frames: NDArray[np.uint8] = self._video.get_batch(list(indices)).asnumpy()
        except self._errors as err:
            raise _undecodable(self._path, err) from err
        return frames  # (T, H, W, 3)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video = ()  # decord frees a video with its last reference


class PyAVReader:
    """Frames through PyAV: packets are listed once, then only the stretch that is asked for is decoded.

    The packets, not the container's header, say how many frames there are and when each is shown.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._container = av.open(str(path), metadata_errors="ignore")
        except av.FFmpegError as err:
            raise _undecodable(path, err) from err
        try:
            self._list_frames()
        except BaseException:
            self.close()
            raise

    def _list_frames(self) -> None:
        """Find when each frame is shown, and from where decoding can start."""
        if not self._container.streams.video:
            raise VideoReadError(f"{self._path}: it has no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.codec_context.thread_count = 1
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        times: set[int] = set()
        starts: dict[int, int] = {}  # time at which a keyframe is shown -> time to seek to
        try:
            for packet in self._container.demux(self._stream):
                time = packet.dts if packet.pts is None else packet.pts
                if time is None or not packet.size or packet.is_discard:
                    continue
                times.add(time)
                if packet.is_keyframe:
                    starts[time] = time if packet.dts is None else packet.dts
        except av.FFmpegError as err:
            raise _undecodable(self._path, err) from err
        if not starts:
            raise VideoReadError(f"{self._path}: it holds no frame from which decoding could start")
        self._times = sorted(times)
        self._starts = [(bisect_left(self._times, time), starts[time]) for time in sorted(starts)]

    def __len__(self) -> int:
        return len(self._times)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        wanted = sorted(set(indices))
        try:
            frames = dict(zip(wanted, self._decode(wanted), strict=True))
        except av.FFmpegError as err:
            raise _undecodable(self._path, err) from err
        return np.stack([frames[index] for index in indices])  # (T, H, W, 3)

    def _decode(self, wanted: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
        """Frames at the ascending indices `wanted`, all in the size of the first."""
        reached, size = -math.inf, None
        for index in wanted:
            start, position = self._starts[max(bisect_right(self._starts, (index, math.inf)) - 1, 0)]
            if start > reached + SEEK_GAP:
                self._container.seek(position, stream=self._stream)
                frames = self._container.decode(self._stream)
            time = self._times[index]
            frame = next((frame for frame in frames if frame.pts is not None and frame.pts >= time), None)
            if frame is None or frame.pts != time:
                raise VideoReadError(f"{self._path}: frame {index} of {len(self)} does not decode")
            reached = index
            height, width = size = size or (frame.height, frame.width)
            pixels = frame.to_ndarray(format="rgb24", height=height, width=width)
            yield np.asarray(pixels, dtype=np.uint8)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()


def open_video(path: str | Path, reader: Reader = "auto") -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: "auto" takes PyAV for AVI files (see `DecordReader` for the reason) and where decord is not
            installed, decord otherwise. What a file holds never changes the choice.

    Raises:
        VideoReadError: The file is missing, empty, or holds no video that the reader can decode.
    """
    path = Path(path).absolute()  # a relative name with a colon would be taken for a protocol
    if not path.is_file():
        raise VideoReadError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise VideoReadError(f"{path}: the file is empty")
    if reader == "auto":
        with_decord = path.suffix.lower() != ".avi" and importlib.util.find_spec("decord") is not None
        reader = "decord" if with_decord else "pyav"
    if reader == "decord":
        return DecordReader(path)
    if reader == "pyav":
        return PyAVReader(path)
    raise ValueError(f"reader must be one of {READERS}, got {reader!r}")


def check_indices(indices: Sequence[int], length: int, path: Path) -> None:
    """Raise IndexError for indices that no video has, VideoReadError for those beyond the end of this one."""
    if len(indices) == 0:
        raise ValueError("indices must name at least one frame, got none")
    if min(indices) < 0:
        raise IndexError(f"indices must not be negative, got {min(indices)}")
    if max(indices) >= length:
        raise VideoReadError(f"{path}: frame {max(indices)} was asked for, it has {length}")


def _undecodable(path: Path, err: Exception) -> VideoReadError:
    cause = (str(err) or type(err).__name__).splitlines()[0]
    return VideoReadError(f"{path}: it does not decode ({cause})")
