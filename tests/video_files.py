"""Writes the small videos and the broken files that the tests read."""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


Retimed = Callable[[int, int], tuple[int, int]]
"""Times of showing and decoding, in frames, to others."""


def numbered_frames(count: int, height: int = 32, width: int = 64) -> NDArray[np.uint8]:
    """Flat grey frames: every pixel of frame i is 6 * i (i < 43), so that a decoded frame tells its number."""
    levels = (6 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def frame_numbers(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers of decoded `numbered_frames`; codecs are off by a level or two."""
    return [round(float(level) / 6) for level in frames.mean(axis=(1, 2, 3))]


def moving_texture(count: int, height: int = 32, width: int = 64) -> NDArray[np.uint8]:
    """A pattern of blocks that moves a little with every frame."""
    block = np.kron(noise_frames(1, height // 8, width // 8)[0], np.ones((8, 8, 1), np.uint8))
    return np.stack([np.roll(block, (i, 3 * i), (0, 1)) for i in range(count)])


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
    retimed: Retimed | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode frames (T, H, W, 3) into `path`, whose suffix chooses the container; three grey ones by default.

    Frames are shown `fps` a second or at `times_ms`; `empty_packets` of H.264 without a picture follow them. `retimed`
    gives packets other times of showing and decoding, in frames; `pixel_aspect` is a pixel's width over its height.
    """
    frames = numbered_frames(3) if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with _scheduling_kept(), av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=OPTIONS.get(codec, {}) | (options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(_retime(stream.encode(frame), fps, retimed))
        last = _retime(stream.encode(None), fps, retimed)
        container.mux(last + [_empty_packet(last, fps, number) for number in range(empty_packets)])
        if not len(frames):
            container.start_encoding()
    return path


@contextmanager
def _scheduling_kept() -> Iterator[None]:
    """Undo a side effect of libsvtav1: for root it makes this process a real-time one, which starves all others."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _retime(packets: list[av.Packet], fps: int, retimed: Retimed | None) -> list[av.Packet]:
    for packet in packets if retimed else ():
        step = round(1 / (fps * packet.time_base))
        packet.pts, packet.dts = (time * step for time in retimed(packet.pts // step, packet.dts // step))
    return packets


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
    return show_by(path, (a, b, -b, a))


def show_by(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Have an MP4 shown by the display matrix (a, b, c, d): its pixel (p, q) at (a p + c q, b p + d q)."""
    a, b, c, d = (each << 16 for each in matrix)  # fixed point with 16 binary places, the last number with 30
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
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


def write_video_after_cover(path: Path, frames: NDArray[np.uint8]) -> Path:
    """An MP4 whose first video stream is a cover picture, as taggers leave it that put their atom before the tracks."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.disposition = av.stream.Disposition.attached_pic
        video = container.add_stream("libx264", rate=25, options=OPTIONS["libx264"])
        for stream, pix_fmt in ((cover, "yuvj420p"), (video, "yuv420p")):
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = pix_fmt
        for stream, shown in ((cover, frames[:1]), (video, frames)):
            for pixels in shown:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    content = path.read_bytes()
    track, tags = content.index(b"trak") - 4, content.index(b"udta") - 4
    (size,) = struct.unpack_from(">I", content, tags)
    moved = content[tags : tags + size]
    path.write_bytes(content[:track] + moved + content[track:tags] + content[tags + size :])
    return path


def decode(path):
    """The frames of a video, (T, H, W, 3)."""
    with av.open(path) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def folder_bytes(root):
    """The content of every file below a folder, by its path there."""
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
