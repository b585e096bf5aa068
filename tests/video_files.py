"""Writes the small videos and the broken files that the tests read."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "10"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "0"},
    "mpeg4": {"qmin": "1", "qmax": "1"},
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
) -> Path:
    """Encode frames (T, H, W, 3) into `path`, whose suffix chooses the container; three grey ones by default."""
    frames = numbered_frames(3) if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=OPTIONS[codec] | (options or {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


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
