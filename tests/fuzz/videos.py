"""Videos of every container that the readers claim: frames as asked for, or a VideoReadError that names the file."""

import importlib.util
import math
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tats_gym.clips import ClipConfig, Video
from tats_gym.clips.caches.window_cache import WindowCache
from tats_gym.clips.decoder import ClipDecoder, Draw, Views, empty_views
from tats_gym.clips.prepare.segments import CutConfig, Segments
from tats_gym.clips.readers import READERS, Reader, open_video
from tests.fuzz.mutators import BYTES, Mutation
from tests.fuzz.target import READ, Target, expect
from tests.layouts import moving_frames
from tests.video_files import write_video

SEEDS = {
    "h264.mp4": {"options": {"preset": "medium", "bf": "2", "g": "4"}},
    "faststart.mov": {"container_options": {"movflags": "faststart"}},
    "mpeg4.m4v": {"codec": "mpeg4"},
    "mpeg4.3gp": {"codec": "mpeg4"},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "vp8.ogv": {"codec": "libvpx"},
    "h264.mkv": {},
    "h264.ts": {"options": {"g": "4"}},
    "mpeg1.mpg": {"codec": "mpeg1video"},
    "mpeg2.mpeg": {"codec": "mpeg2video"},
    "wmv2.wmv": {"codec": "wmv2"},
    "flv1.flv": {"codec": "flv"},
}
"""A video of each suffix in `VIDEO_SUFFIXES`, and how it is encoded."""

FRAMES, SIZE = 4, 32
"""Of the clips that are cut."""


def make_videos(root: Path) -> None:
    """Write ten frames of 48 x 64 in every container."""
    for name, settings in SEEDS.items():
        options = {"fflags": "bitexact"} | settings.get("container_options", {})
        write_video(root / name, moving_frames(0, 10), fps=25, **{**settings, "container_options": options})


def check_video(reader: Reader, root: Path, file: Path) -> str:
    """Read some frames of a video, then cut clips from it as a training and a test do."""
    with closing(open_video(file, reader)) as video:
        expect(len(video) > 0, "it has no frame")
        expect(math.isfinite(video.fps) and video.fps >= 0, f"it shows {video.fps} frames a second")
        last = len(video) - 1
        frames = video.get_batch([0, last // 2, last, 0])
        expect(frames.dtype == np.uint8, f"the frames are {frames.dtype}")
        expect(frames.ndim == 4 and frames.shape[0] == 4 and frames.shape[3] == 3, f"the shape is {frames.shape}")
        expect(min(frames.shape) > 0, f"the shape is {frames.shape}")
    decoder = ClipDecoder(ClipConfig(data="folder", reader=reader), [Video(file, None)], FRAMES, SIZE)
    clips = empty_views(2, FRAMES, SIZE)
    expect(decoder.draw(Draw(0, 0, 0), 0, clips) == 0, "it is another video")
    decoder.views(0, Views(2, 1), clips)
    expect(clips.dtype == torch.uint8, f"the clips are {clips.dtype}")
    return READ


def check_cutting(root: Path, file: Path) -> str:
    """Cut a video into segments."""
    out = root / "segments"
    out.mkdir(exist_ok=True)
    try:
        for path in Segments(file, out, CutConfig(frames=4, short_side=16)):
            path.unlink()
    finally:
        for path in out.iterdir():
            path.unlink()
    return READ


def make_window(root: Path) -> None:
    """Write a window as the cache keeps it, and the video that it stands for."""
    (root / "video.mp4").write_bytes(b"nobody opens it")
    WindowCache(root / "windows", 1, FRAMES).get(root / "video.mp4", 0, lambda where: moving_frames(0, FRAMES))
    (kept,) = (root / "windows").rglob("*.npy")
    kept.replace(root / "window.npy")


def check_window(root: Path, file: Path) -> str:
    """Put a damaged window where a cache keeps it, and ask for it: no damage changes the result."""
    shutil.rmtree(root / "windows", ignore_errors=True)
    cache, decoded = WindowCache(root / "windows", 1, FRAMES), moving_frames(0, FRAMES)
    cache.get(root / "video.mp4", 0, lambda where: decoded)
    (kept,) = (root / "windows").rglob("*.npy")
    kept.write_bytes(file.read_bytes())
    made: list[float] = []
    window = cache.get(root / "video.mp4", 0, lambda where: (made.append(where), decoded)[1])
    expect(window.dtype == np.uint8 and np.array_equal(window, decoded), "it is another window")
    return "made again" if made else READ


def _bytes(name: str) -> tuple[Mutation, ...]:
    return BYTES


def installed() -> list[Reader]:
    """Return the readers that this machine has."""
    found: list[Reader] = ["pyav"]
    return found + [name for name in READERS if name in ("decord", "torchcodec") and importlib.util.find_spec(name)]


FILES = [f"*{Path(name).suffix}" for name in SEEDS]

TARGETS = [
    *(
        Target(f"video-{reader}", make_videos, partial(check_video, reader), FILES, _bytes, decodes=True, share=10)
        for reader in installed()
    ),
    Target("segments", make_videos, check_cutting, FILES, _bytes, decodes=True, share=2),
    Target("window", make_window, check_window, ["window.npy"], _bytes),
]
