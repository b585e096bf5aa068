"""Makes the videos of the benchmarks: moving noise in the formats of the published sets."""

import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tats_gym.clips.paths import data_root

VERSION = 1
"""Part of the folder's name: raise it with every change of the videos."""
COPIES = 5
"""Files of each content: a decoder works as long on copies as on distinct files."""
OBJECTS = 4


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """A video format, with the stride of its clips."""

    about: str
    """The dataset that has such files."""
    codec: str
    """FFmpeg's name of the encoder."""
    suffix: str
    """Suffix of the files."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fps: int
    """Frames a second."""
    frames: int
    """Frames of a video."""
    stride: int
    """Frames from one frame of a clip to the next, as published for the set."""
    bit_rate: int
    """Bits a second, about the mean of the published set if there is one."""
    pix_fmt: str = "yuv420p"
    """FFmpeg's name of the pixel format."""
    options: dict[str, str] = field(default_factory=dict)
    """Options of the encoder."""


FORMATS = {
    "h264": VideoFormat(
        about="h264 340x256, 30 fps, 10 s, a keyframe every 16, like Kinetics",
        codec="libx264",
        suffix=".mp4",
        width=340,
        height=256,
        fps=30,
        frames=300,
        stride=4,
        bit_rate=450_000,
        options={"preset": "veryfast", "g": "16"},
    ),
    "vp9": VideoFormat(
        about="VP9 426x240, 12 fps, 4 s, like Something-Something V2",
        codec="libvpx-vp9",
        suffix=".webm",
        width=426,
        height=240,
        fps=12,
        frames=48,
        stride=2,
        bit_rate=180_000,
        options={"deadline": "realtime", "cpu-used": "8"},
    ),
    "mpeg4": VideoFormat(
        about="MPEG-4 AVI 320x240, 25 fps, 7 s, like UCF101",
        codec="mpeg4",
        suffix=".avi",
        width=320,
        height=240,
        fps=25,
        frames=175,
        stride=4,
        bit_rate=540_000,
    ),
    "mjpeg": VideoFormat(
        about="Motion JPEG AVI 320x240, 25 fps, 7 s",
        codec="mjpeg",
        suffix=".avi",
        width=320,
        height=240,
        fps=25,
        frames=175,
        stride=4,
        bit_rate=4_000_000,
        pix_fmt="yuvj420p",
    ),
}
"""Name of a format to the format."""


def make_videos(name: str, *, contents: int, copies: int = COPIES, cache: Path | None = None) -> Path:
    """Make `contents` times `copies` videos of a format unless they exist; return their folder.

    Args:
        name: A name in `FORMATS`.
        contents: Videos that are drawn and encoded.
        copies: Files of each.
        cache: Parent of the folder; None is the user's cache.
    """
    cache = data_root("benchmark") if cache is None else cache
    folder = cache / f"{name}-v{VERSION}-{contents}x{copies}"
    if folder.is_dir():
        return folder
    partial = cache / f".{folder.name}.{uuid.uuid4().hex}"
    partial.mkdir(parents=True)
    try:
        for seed in range(contents):
            first = partial / f"{seed}-0{FORMATS[name].suffix}"
            encode(first, FORMATS[name], seed)
            for copy in range(1, copies):
                shutil.copyfile(first, partial / f"{seed}-{copy}{FORMATS[name].suffix}")
        if not folder.is_dir():
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def encode(path: Path, video_format: VideoFormat, seed: int) -> None:
    """Write one video, on one thread."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video_format.codec, rate=video_format.fps, options=video_format.options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = video_format.width, video_format.height, video_format.pix_fmt
        stream.bit_rate, stream.thread_count = video_format.bit_rate, 1
        for pixels in islice(noise_video(video_format.height, video_format.width, seed), video_format.frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def noise_video(height: int, width: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield frames (H, W, C): a camera drifts over a texture, other textures move in front, the sensor adds noise.

    The textures' amplitude falls with 1 / frequency, like that of natural images.
    """
    rng = np.random.default_rng(seed)
    ground = texture(height + 128, width + 128, rng)
    sizes = rng.integers(height // 6, height // 2, size=(OBJECTS, 2))
    objects = [texture(tall, wide, rng) for tall, wide in sizes]
    periods, phases = rng.uniform(40, 200, size=(OBJECTS + 1, 2)), rng.uniform(0, 6, size=(OBJECTS + 1, 2))
    grain = rng.normal(0, 2, size=(height + 64, width + 64, 1)).round().astype(np.int16)
    number = 0
    while True:
        places = (1 + np.sin(number / periods + phases)) / 2  # (OBJECTS + 1, 2) in [0, 1]
        down, right = (128 * places[0]).astype(int)
        frame = ground[down : down + height, right : right + width].copy()
        for thing, (tall, wide), place in zip(objects, sizes, places[1:], strict=True):
            top, left = int(place[0] * (height - tall)), int(place[1] * (width - wide))
            frame[top : top + tall, left : left + wide] = thing
        down, right = rng.integers(64, size=2)
        noisy = frame + grain[down : down + height, right : right + width]
        yield np.clip(noisy, 0, 255).astype(np.uint8)
        number += 1


def texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.int16]:
    """Draw noise (H, W, C) in [0, 255] whose amplitude falls with 1 / frequency; hue varies less than brightness."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(4, height, width))) / np.maximum(frequency, 1 / max(height, width))
    fields = np.fft.irfft2(spectrum, s=(height, width))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    levels = 128 + 40 * fields[0] + 12 * fields[1:]  # (C, H, W)
    pixels: NDArray[np.int16] = np.clip(levels, 0, 255).astype(np.int16)
    return pixels.transpose(1, 2, 0)
