"""Cuts long videos into short segments, each in a video file of its own."""

import json
import logging
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np

from tats_gym.clips.augment import displayed_width
from tats_gym.clips.datasets.films import SETTINGS_FILE
from tats_gym.clips.demo.drawing import Bytes
from tats_gym.clips.generated import encode
from tats_gym.clips.readers import VideoReadError, open_video
from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.orientation import orientation_of
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.files.text import parse_json
from tats_gym.files.video_files import find_videos
from tats_gym.messages import brief
from tats_gym.runs.progress import progress_bar
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

BITS_PER_PIXEL = 1.0
"""Bits per pixel and frame for the encoder: at these sizes the loss is barely visible."""


@dataclass(frozen=True, kw_only=True)
class CutConfig:
    """Starts, length and size of segments."""

    frames: int = 48
    """Frames in a segment."""
    stride: int | None = None
    """Frames from one start to the next, by default `frames`. Fewer make segments overlap, more leave gaps."""
    short_side: int = 112
    """Length of a segment's shorter side in pixels, even; smaller frames are not enlarged."""
    limit: int | None = None
    """Most segments of a video, counted from its start; by default all."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, frames="[1, inf)", stride="[1, inf)", limit="[1, inf)")
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"short_side must be even and at least 2, got {self.short_side}")

    @property
    def step(self) -> int:
        """Frames from one start to the next."""
        return self.frames if self.stride is None else self.stride

    def starts(self, length: int) -> range:
        """Return the first frame of each segment of a video of `length` frames."""
        return range(0, length - self.frames + 1, self.step)[: self.limit]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the segments of a video of this size, both even."""
        scale = min(1.0, self.short_side / min(height, width))
        return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


def videos_to_cut(paths: Sequence[Path], out: Path) -> list[Path]:
    """Return the videos of `find_videos` whose segments can lie side by side in `out`.

    Raises:
        FileNotFoundError: If a path does not exist, or no file is a video.
        ValueError: If no path is given, `out` lies inside one, so that its segments would be cut again, or two videos
            share a name.
    """
    if not paths:
        raise ValueError("paths must name at least one file or folder, got none")
    for path in paths:
        if out.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"out must lie outside the videos' folder {path}, got {out}")
    by_name: dict[str, Path] = {}
    for video in find_videos(paths):
        other = by_name.setdefault(video.stem, video)
        if other.resolve() != video.resolve():
            raise ValueError(
                f"{other} and {video} would give segments of one name; rename one, or cut it into another folder"
            )
    return list(by_name.values())


def claim_folder(out: Path, config: CutConfig) -> None:
    """Create the folder and record its settings.

    Raises:
        ValueError: If the folder holds segments of other or unknown settings; `limit` may differ.
    """
    settings = {"frames": config.frames, "stride": config.step, "short_side": config.short_side}
    note = out / SETTINGS_FILE
    if not note.exists():
        make_folder(out)
        write_whole(note, json.dumps(settings) + "\n")
    record = parse_json(note.read_bytes(), str(note))
    if record != settings:
        raise ValueError(
            f"{out} holds segments cut with {brief(record)}, not {settings}; choose another folder for out"
        )


class Segments:
    """The segments of one video. Iterating writes those missing in `out` and yields their paths; `len` counts them.

    Their pixels are square: they are scaled to the displayed picture.

    Raises:
        VideoReadError: If the video cannot be opened or has no frame rate.
    """

    def __init__(self, video: Path, out: Path, config: CutConfig) -> None:
        self.video, self.config = video, config
        reader = open_video(video, "pyav")
        reader.close()
        with closing(Container(video.absolute())) as container:
            self.pixel_aspect = float(container.pixel_aspect)
            """Width of a stored pixel over its height; those of segments are square."""
        self.length = len(reader)
        """Frames in the video."""
        self.fps = Fraction(reader.fps).limit_denominator(1001)  # restores 30000/1001, which was read as a float
        if self.fps <= 0:
            raise VideoReadError(f"{video}: it has no frame rate")
        starts = config.starts(self.length)
        self.paths = [out / f"{video.stem}-{index:04d}.webm" for index in range(len(starts))]
        """Files of all segments, existing or not."""
        self._missing = {s: path for s, path in zip(starts, self.paths, strict=True) if not path.exists()}

    def __len__(self) -> int:
        return len(self._missing)

    def __iter__(self) -> Iterator[Path]:
        needed = {start + i for start in self._missing for i in range(self.config.frames)}
        window: deque[Bytes] = deque(maxlen=self.config.frames)
        for number, frame in self._decode(max(needed, default=-1) + 1):
            if number not in needed:
                continue
            if not window:
                height, width = self.config.size(frame.height, self._displayed_width(frame.width))
                orientation = orientation_of(frame)
            pixels = frame.to_ndarray(format="rgb24", height=height, width=width)  # (H, W, C)
            window.append(orientation.apply(np.asarray(pixels, dtype=np.uint8)))
            path = self._missing.get(number + 1 - self.config.frames)
            if path is not None:
                self._write(path, np.stack(window))  # (T, H, W, C)
                yield path

    def _displayed_width(self, width: int) -> int:
        try:
            return displayed_width(width, self.pixel_aspect)
        except ValueError as err:
            raise VideoReadError(f"{self.video}: {err}; correct the file") from err

    def _decode(self, count: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the first `count` frames with their numbers, in one pass."""
        number = -1
        try:
            with closing(Container(self.video.absolute())) as container:
                for number, frame in enumerate(islice(container.frames(), count)):
                    yield number, frame
        except av.FFmpegError as err:
            raise VideoReadError(f"{self.video}: frame {number + 1} of {self.length} does not decode ({err})") from err
        if number + 1 < count:
            raise VideoReadError(f"{self.video}: only {number + 1} of its {self.length} frames decode")

    def _write(self, path: Path, frames: Bytes) -> None:
        """Encode under a hidden name, then rename, so that no reader sees an incomplete file."""
        partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
        try:
            pixels_per_second = frames.shape[1] * frames.shape[2] * self.fps
            encode(partial, frames, fps=self.fps, bit_rate=round(BITS_PER_PIXEL * pixels_per_second))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@dataclass
class Totals:
    """Counts of videos and of their segments in the folder."""

    videos: int = 0
    """Videos with at least one segment."""
    new: int = 0
    """Segments that this run wrote."""
    segments: int = 0
    """All segments."""
    seconds: float = 0.0
    """Total duration of the segments."""


def cut_all(paths: Sequence[Path], out: Path, config: CutConfig) -> Totals:
    """Cut every video; one that is too short or does not decode is logged, and the segments cut before that stay.

    Args:
        paths: Videos, or folders with videos anywhere below them.
        out: Folder of the segments.
        config: Settings of the cut.

    Raises:
        FileNotFoundError: If there is no video.
        ValueError: If `out` lies among the videos or holds other segments; or no video gave a segment.
    """
    totals = Totals()
    videos = videos_to_cut(paths, out)
    claim_folder(out, config)
    for number, video in enumerate(videos, start=1):
        try:
            _cut_one(Segments(video, out, config), f"{number}/{len(videos)} {video.name}", totals)
        except VideoReadError as err:
            logger.warning("%s", err)
    if not totals.segments:
        raise ValueError(f"no video gave a segment of {config.frames} frames")
    return totals


def _cut_one(segments: Segments, title: str, totals: Totals) -> None:
    """Cut one video and add it to the totals."""
    frames = segments.config.frames
    if not segments.paths:
        logger.warning(
            "%s: skipped: a segment has %d frames, the video has %d", segments.video, frames, segments.length
        )
    try:
        for _ in progress_bar(segments, desc=title, unit="segment", leave=False):
            totals.new += 1
    finally:
        existing = sum(path.exists() for path in segments.paths)
        totals.videos += existing > 0
        totals.segments += existing
        totals.seconds += float(existing * frames / segments.fps)
