"""Reads chosen frames of a video file, through PyAV, decord or torchcodec behind one small protocol."""

import math
import os
import stat
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, get_args

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

Reader = Literal["auto", "decord", "pyav", "torchcodec"]
READERS: tuple[Reader, ...] = get_args(Reader)

SEEK_GAP = 8
"""Frames that are cheaper to decode than to jump over."""

SKIPPABLE: dict[str, Literal["NONREF", "ALL"]] = {"h264": "NONREF", "mjpeg": "ALL"}
"""Codec to which of its frames need not be decoded for others, as FFmpeg's discard levels."""


class VideoReadError(OSError):
    """A video cannot be opened or decoded; the message names the path and the cause."""


class VideoReader(Protocol):
    """An open video; its frames are counted in the order in which they are shown, and turned as they are shown."""

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

    Known defects of decord 0.6, none of which PyAV has:

    - It takes the wrong frames, without an error, from an AVI with B-frames, whose packets carry no presentation
      times, and from an MP4 whose edit list hides frames, as a cut without encoding leaves it.
    - It does not open an MP4 that ends before its index says, nor a WebM of one frame, and refuses some frames
      less than 64 pixels wide.
    - It decodes ahead: where a packet does not decode, frames well before it fail too, now and then, and no frame
      comes any more after such a failure.
    - It counts packets that hold no picture as frames. On some such files it never returns and cannot be interrupted
      (dmlc/decord#373 and #375); on those of the tests it raises.

    Raises:
        ImportError: decord is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import decord
        except ImportError as err:
            raise ImportError(
                "reader 'decord' needs the package: pip install decord (Linux on x86-64); 'pyav' needs nothing more"
            ) from err
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
    """Frames through PyAV, on one thread: packets are listed once, then only what is asked for is decoded.

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
        if self._stream.codec_context is None:
            raise VideoReadError(f"{self._path}: PyAV does not know the format that its video is in")
        self._stream.codec_context.thread_count = 1
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        times: set[int] = set()
        starts: dict[int, int] = {}  # time at which a keyframe is shown -> time to seek to
        try:
            for packet in self._packets():
                time = packet.dts if packet.pts is None else packet.pts
                if time is None or not packet.size:
                    continue
                if packet.is_keyframe:
                    starts[time] = time if packet.dts is None else packet.dts
                if not packet.is_discard:  # an edit list hides frames, those that follow may still need them
                    times.add(time)
        except av.FFmpegError as err:
            raise _undecodable(self._path, err) from err
        if not times or not starts:
            raise VideoReadError(f"{self._path}: it holds no frame from which decoding could start")
        self._times = sorted(times)
        self._starts = [(bisect_left(self._times, time), starts[time]) for time in sorted(starts)]

    def _packets(self) -> Iterator["av.Packet[av.VideoStream]"]:
        """The video's packets from where the container is."""
        try:
            yield from self._container.demux(self._stream)
        except IndexError as err:
            raise VideoReadError(f"{self._path}: a stream begins within it, which PyAV does not read") from err

    def __len__(self) -> int:
        return len(self._times)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        wanted = sorted(set(indices))
        try:
            frames = self._convert(self._decode(wanted), len(wanted))
        except (av.FFmpegError, MemoryError) as err:
            raise _undecodable(self._path, err) from err
        if wanted == list(indices):
            return frames
        return frames[np.searchsorted(wanted, indices)]  # (T, H, W, 3)

    def _decode(self, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """The frames at the ascending indices `wanted`, each with its place among them."""
        for position, places in self._stretches(wanted):
            self._container.seek(position, stream=self._stream)
            for packet in self._packets():
                self._skip_what_nothing_needs(packet.pts, places)
                for frame in packet.decode():
                    if frame.pts in places:
                        yield places.pop(frame.pts), frame
                if not places:
                    break
            for place in places.values():
                raise VideoReadError(f"{self._path}: frame {wanted[place]} of {len(self)} does not decode")

    def _stretches(self, wanted: Sequence[int]) -> list[tuple[int, dict[int, int]]]:
        """What to decode at one go: the time to seek to, and at what times the frames are shown, with their places."""
        stretches: list[tuple[int, dict[int, int]]] = []
        reached = -math.inf
        for place, index in enumerate(wanted):
            start, position = self._starts[max(bisect_right(self._starts, (index, math.inf)) - 1, 0)]
            if start > reached + SEEK_GAP:
                stretches.append((position, {}))
            stretches[-1][1][self._times[index]] = place
            reached = index
        return stretches

    def _skip_what_nothing_needs(self, time: int | None, wanted: Container[int]) -> None:
        """Leave out frames that are neither wanted nor a reference of others: most B-frames of H.264, all of JPEG."""
        context = self._stream.codec_context
        if context.name in SKIPPABLE:
            context.skip_frame = "DEFAULT" if time is None or time in wanted else SKIPPABLE[context.name]

    def _convert(self, frames: Iterator[tuple[int, av.VideoFrame]], count: int) -> NDArray[np.uint8]:
        """`count` frames in RGB, in the size and the orientation in which the first of them is to be shown."""
        reformatter = VideoReformatter()
        pixels: NDArray[np.uint8] | None = None
        for place, frame in frames:
            if pixels is None:
                height, width, quarters = frame.height, frame.width, round(frame.rotation / 90)
                pixels = np.empty((count, height, width, 3), np.uint8)
            pixels[place] = reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        assert pixels is not None
        return np.ascontiguousarray(np.rot90(pixels, quarters, axes=(1, 2)))  # (T, H, W, 3)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._container.close()


class TorchcodecReader:
    """Frames through torchcodec, on one thread.

    A known defect of torchcodec 0.17: like decord, it takes the wrong frames from an AVI with B-frames.

    Raises:
        ImportError: torchcodec is not installed, or finds no FFmpeg.
    """

    def __init__(self, path: Path) -> None:
        try:
            import torchcodec
        except ImportError as err:
            raise ImportError("reader 'torchcodec' needs the package: pip install 'tats-gym[torchcodec]'") from err
        if torchcodec.ffmpeg_major_version is None:
            raise ImportError("reader 'torchcodec' needs FFmpeg's shared libraries, version 4 or later: install ffmpeg")
        self._path = path
        self._open = partial(torchcodec.decoders.VideoDecoder, str(path), dimension_order="NHWC", device="cpu")
        try:
            self._video = self._open()
        except (RuntimeError, ValueError) as err:
            raise _undecodable(path, err) from err
        self.fps = float(self._video.metadata.average_fps or 0)

    def __len__(self) -> int:
        return len(self._video)

    def get_batch(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """See `VideoReader.get_batch`."""
        check_indices(indices, len(self), self._path)
        try:
            frames: NDArray[np.uint8] = self._video.get_frames_at(list(indices)).data.numpy()
        except RuntimeError as err:
            self._video = self._open()  # one that has failed once gives no frame any more
            raise _undecodable(self._path, err) from err
        return frames  # (T, H, W, 3)

    def close(self) -> None:
        """See `VideoReader.close`."""
        self._video = ()  # torchcodec frees a video with its last reference


def open_video(path: str | Path, reader: Reader = "auto") -> VideoReader:
    """Open a video.

    Args:
        path: The file.
        reader: "auto" takes PyAV: of the three it alone reads every file of the tests correctly, and it is the
            quickest. What a file holds never changes the choice.

    Raises:
        VideoReadError: The file is missing, empty, or holds no video that the reader can decode.
        ImportError: The reader needs a package that is not installed.
    """
    path = Path(path).absolute()  # a relative name with a colon would be taken for a protocol
    if facts_of(path).st_size == 0:
        raise VideoReadError(f"{path}: the file is empty")
    if reader in ("auto", "pyav"):
        return PyAVReader(path)
    if reader == "decord":
        return DecordReader(path)
    if reader == "torchcodec":
        return TorchcodecReader(path)
    raise ValueError(f"reader must be one of {READERS}, got {reader!r}")


def facts_of(path: Path) -> os.stat_result:
    """Ask the disk about a video's file; raises VideoReadError where there is none, or the disk does not answer."""
    try:
        facts = path.stat()
    except OSError as err:
        raise VideoReadError(f"{path}: {err.strerror}") from err
    if not stat.S_ISREG(facts.st_mode):
        raise VideoReadError(f"{path}: it is no file")
    return facts


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
