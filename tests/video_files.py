"""Writes the small videos and the broken files that the tests read."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "10"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"},
    "mpeg4": {"qmin": "1", "qmax": "1"},
    "mjpeg": {"qmin": "1", "qmax": "1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "b": "200000"},
    **{codec: {"qmin": "2", "qmax": "2"} for codec in ("mpeg1video", "mpeg2video", "wmv2", "flv")},
}


def numbered_frames(count: int, height: int = 32, width: int = 64) -> NDArray[np.uint8]:
    """Flat grey frames: every pixel of frame i is 6 * i (i < 43), so that a decoded frame tells its number."""
    levels = (6 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def frame_numbers(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers of decoded `numbered_frames`; codecs are off by a level or two."""
    return [round(float(level) / 6) for level in frames.mean(axis=(1, 2, 3))]


def noise_frames(count: int, height: int = 32, width: int = 64) -> NDArray[np.uint8]:
    """Frames that compress badly, so that a cut in the file hits a frame."""
    return np.random.default_rng(0).integers(256, size=(count, height, width, 3), dtype=np.uint8)


def write_video(
    path: Path,
    frames: NDArray[np.uint8] | None = None,
    *,
    codec: str = "libx264",
    fps: int = 12,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    empty_packets: int = 0,
) -> Path:
    """Encode frames (T, H, W, 3) into `path`, whose suffix chooses the container; three grey ones by default.

    Frames are shown `fps` a second or at `times_ms`; `empty_packets` of H.264 without a picture follow them.
    """
    frames = numbered_frames(3) if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=OPTIONS[codec] | (options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        last = stream.encode(None)
        container.mux(last + [_empty_packet(last, fps, number) for number in range(empty_packets)])
        if not len(frames):
            container.start_encoding()
    return path


def _empty_packet(after: Sequence[av.Packet], fps: int, number: int) -> av.Packet:
    """An access unit delimiter alone: a container counts it as a frame, a decoder gets none from it."""
    packet = av.Packet(struct.pack(">I", 2) + b"\x09\xf0")
    packet.stream, packet.time_base = after[-1].stream, after[-1].time_base
    packet.pts = packet.dts = max(p.pts for p in after) + round((1 + number) / (fps * packet.time_base))
    return packet


def write_sound(path: Path) -> Path:
    """A container that holds a tone and no video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        tone = np.sin(np.arange(16000, dtype=np.float32) / 10)[None]
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """Keep only the first `share` of a file's bytes, as a broken download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def turn(path: Path, degrees: int) -> Path:
    """Have an MP4 shown turned clockwise by 90, 180 or 270 degrees, as phones do that are held upright."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one, whole = 1 << 16, 1 << 30  # fixed point with 16 and 30 binary places
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, -b * one, a * one, 0, 0, 0, whole)
    path.write_bytes(content)
    return path


def hide_first(path: Path, count: int, fps: int = 12) -> Path:
    """Have the edit list of an MP4 begin `count` frames later, as a cut without encoding does between keyframes."""
    content = bytearray(path.read_bytes())
    (scale,) = struct.unpack_from(">I", content, content.index(b"mdhd") + 16)
    at = content.index(b"elst") + 16
    (begin,) = struct.unpack_from(">i", content, at)
    struct.pack_into(">i", content, at, begin + count * scale // fps)
    path.write_bytes(content)
    return path
