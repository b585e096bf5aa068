"""A video file opened by PyAV: the packets and decoded frames of one stream."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
from av.stream import Disposition

from tats_gym.clips.readers.video_reader import VideoReadError, decode_error, file_version

SkipLevel = Literal["DEFAULT", "NONREF", "ALL"]
"""FFmpeg's discard levels: decode every frame, only reference frames, none."""


class Container:
    """The first video stream of a file, cover pictures excepted, decoded on one thread.

    Raises:
        VideoReadError: If the file holds no video that PyAV can decode.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = file_version(path)
        """Inode, size and modification time, which distinguish this file from another one at the same path."""
        self._closed = False
        self._open()
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)

    def _open(self) -> None:
        if self._closed:
            raise VideoReadError(f"{self.path}: it was closed")
        if file_version(self.path) != self.version:
            raise VideoReadError(f"{self.path}: it changed while it was read")
        try:
            self._file = av.open(str(self.path), metadata_errors="ignore")
        except av.FFmpegError as err:
            raise decode_error(self.path, err) from err
        try:
            self._stream = self._choose_stream()
        except BaseException:
            self._file.close()
            raise
        self._codec = self._stream.codec_context
        self._codec.thread_count = 1
        self._at_start = True

    def _choose_stream(self) -> av.VideoStream:
        videos = [each for each in self._file.streams.video if not each.disposition & Disposition.attached_pic]
        if not videos:
            raise VideoReadError(f"{self.path}: it has no video stream")
        if videos[0].codec_context is None:
            raise VideoReadError(f"{self.path}: PyAV cannot identify the codec of its video")
        return videos[0]

    @property
    def format(self) -> str:
        """FFmpeg's name of the container format."""
        return self._file.format.name

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self._codec.name

    @property
    def time_base(self) -> Fraction:
        """Unit of the packets' times, in seconds."""
        return self._stream.time_base or Fraction(1)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel over its height, 1 where neither container nor codec say."""
        return self._stream.sample_aspect_ratio or Fraction(1)

    @property
    def intra_only(self) -> bool:
        """Whether the codec decodes every frame independently of others."""
        return self._codec.codec.intra_only

    @property
    def reorders(self) -> bool:
        """Whether the stream declares that frames may be shown in another order than they are decoded in."""
        return self._codec.has_b_frames

    @property
    def palettised(self) -> bool:
        """Whether pixels are palette indices; the palette comes with the first packet alone."""
        return self._codec.pix_fmt == "pal8"

    def packets(self) -> Iterator["av.Packet[av.VideoStream]"]:
        """Yield the packets from the first on."""
        if not self._at_start:
            self._file.close()
            self._open()
        yield from self._demux()

    def packets_from(self, position: int, time: int) -> Iterator["av.Packet[av.VideoStream]"]:
        """Yield the packets from the one at this position and decoding time on; none where seeking misses it."""
        self._at_start = False
        self._file.seek(time, stream=self._stream)
        packets = self._demux()
        for packet in packets:
            if packet.pos == position:
                yield packet
                yield from packets
            elif packet.dts is None or packet.dts > time:
                return

    def _demux(self) -> Iterator["av.Packet[av.VideoStream]"]:
        self._at_start = False
        try:
            for packet in self._file.demux(self._stream):
                if packet.size:  # PyAV's last packet is empty, and so are Theora's repeated frames, which FFmpeg skips
                    yield packet
        except IndexError as err:
            raise VideoReadError(
                f"{self.path}: a stream begins in the middle of it, which PyAV does not support"
            ) from err

    def decode(
        self, packets: Iterable["av.Packet[av.VideoStream]"], skip: Callable[[int | None], SkipLevel] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Yield the frames of packets; `skip` maps the time at which a packet is shown to its discard level.

        Raises:
            av.FFmpegError: If a packet does not decode; the frames of earlier packets have been yielded.
        """
        for packet in packets:
            if skip:
                self._codec.skip_frame = skip(packet.pts)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                yield from self._flush()
                raise
            yield from frames
        yield from self._flush()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame from the first on, up to a packet that does not decode.

        A file may begin between two keyframes: packets that do not decode are skipped until the first frame.

        Raises:
            av.FFmpegError: If a later packet does not decode; the frames before it have been yielded.
        """
        packets = self.packets()
        for packet in packets:
            frames = self._decode_or_skip(packet)
            if frames:
                yield from frames
                break
        yield from self.decode(packets)

    def count_frames(self) -> int:
        """Count the frames of all packets that decode."""
        return sum(len(self._decode_or_skip(packet)) for packet in self.packets()) + len(self._flush())

    def _decode_or_skip(self, packet: "av.Packet[av.VideoStream]") -> list[av.VideoFrame]:
        try:
            return packet.decode()
        except av.FFmpegError:
            return []

    def _flush(self) -> list[av.VideoFrame]:
        """Return the frames that the decoder still holds."""
        try:
            return self._codec.decode(None)
        except av.FFmpegError:
            return []

    def close(self) -> None:
        """Release the file."""
        self._closed = True
        self._file.close()
