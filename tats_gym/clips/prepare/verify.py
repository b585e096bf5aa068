"""Verifies a split: opens every video, decodes one window and checks some frames; the findings form its index."""

import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from tats_gym.clips.augment import centre_start, window_indices
from tats_gym.clips.config import ClipConfig
from tats_gym.clips.datasets.index import (
    Finding,
    Header,
    Row,
    Status,
    header_line,
    index_name,
    read_finding,
    write_index,
)
from tats_gym.clips.datasets.layout import Part
from tats_gym.clips.datasets.listing import dataset_folder, list_videos
from tats_gym.clips.prepare.frame_check import returns_wrong_frames
from tats_gym.clips.prepare.verify_report import Report
from tats_gym.clips.readers import (
    Reader,
    VideoReader,
    VideoReadError,
    in_video_file,
    open_video,
    pixel_aspect_of,
    split_span,
)
from tats_gym.clips.workers.pool import run_all
from tats_gym.clips.workers.supervisor import TaskFailure
from tats_gym.datasets import DATASETS, Split
from tats_gym.files.atomic import write_whole
from tats_gym.files.text import parse_json
from tats_gym.runs.kinds import refuse_to_replace
from tats_gym.runs.progress import progress_bar
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import TokenGrid

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """The split to verify, the window and the limits of the check, and the place of the index."""

    data: str
    """Dataset, see `list_videos`."""
    root: str | None = None
    """The dataset's folder, see `data_root`."""
    split: Split = ClipConfig.split
    """Part of the dataset."""
    fold: int = ClipConfig.fold
    """One of the three official divisions of UCF101 and HMDB51."""
    subset: float | None = None
    """Verify only this share of every class, or this number of clips of every class."""
    subset_seed: int = ClipConfig.subset_seed
    """Each seed gives another subset."""
    index: str | None = None
    """File or folder of the index; None takes the dataset's own folder."""
    frames: int = TokenGrid.frames
    """Frames in the window, T."""
    stride: int = ClipConfig.stride
    """Frames of the video from one frame of the window to the next."""
    reader: Reader = ClipConfig.reader
    """Library that decodes, see `open_video`."""
    num_workers: int = ClipConfig.num_workers
    """Worker processes; 0 decodes in the calling process, without limits."""
    time_limit_s: float = ClipConfig.time_limit_s
    """Seconds after which a video counts as broken and its worker is replaced."""
    memory_limit_mib: int = ClipConfig.memory_limit_mib
    """Memory in MiB above which a worker is replaced; a video that takes twice as much counts as broken."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, frames="[1, inf)", stride="[1, inf)", num_workers="[0, inf)")
        check_intervals(self, memory_limit_mib="[1, inf)", time_limit_s="(0, inf)")


@dataclass(frozen=True)
class WindowCheck:
    """Decodes the middle window of a video, and checks that the reader returns the right frames."""

    frames: int
    """Frames of the window."""
    stride: int
    """Frames from one of them to the next."""
    reader: str
    """Reader whose frames are compared."""

    def __call__(self, path: str) -> Finding:
        """Return the finding about a video.

        Raises:
            VideoReadError: If the window does not decode.
        """
        try:
            with closing(open_video(path, self.reader)) as video:
                length, fps = len(video), video.fps
                if not length:
                    raise VideoReadError(f"{path}: it holds no frame")
                window = length, self.frames, self.stride
                indices = window_indices(*window, centre_start(*window)).tolist()
                height, width = video.get_batch(indices).shape[1:3]  # of (T, H, W, C)
                pixel_aspect = pixel_aspect_of(path, self.reader)
                misplaced = self._misplaces_frames(path, video)
        except VideoReadError:
            raise
        except OSError as err:  # an error of the disk, such as missing permissions
            raise VideoReadError(f"{path}: {err.strerror or err}") from err
        status: Status = "ok" if length >= self.frames * self.stride else "short"
        return Finding(
            frames=length,
            fps=round(fps, 3) if math.isfinite(fps) else 0.0,
            width=width,
            height=height,
            pixel_aspect=round(pixel_aspect, 4),
            status="misplaced" if misplaced else status,
            cause=f"reader {self.reader!r} returns wrong frames" if misplaced else None,
        )

    def _misplaces_frames(self, path: str, video: VideoReader) -> bool:
        """Whether the reader returns wrong frames of a video, or of the one that a segment is of."""
        whole, span = split_span(path)
        if not in_video_file(whole, self.reader):
            return False
        if span is None:
            return returns_wrong_frames(video, whole)
        with closing(open_video(whole, self.reader)) as all_frames:
            return returns_wrong_frames(all_frames, whole)


class Verification:
    """The check of one split. Iterating checks the videos that no earlier run has checked; `len` counts them.

    Findings are appended line by line to `INDEX.partial`, from which an interrupted run continues.

    Raises:
        MissingDataError: If the dataset is not on the disk.
        PermissionError: If the index cannot be written at its place.
    """

    def __init__(self, config: VerifyConfig) -> None:
        self.config = config
        self.root = dataset_folder(config.data, config.root)
        self.listing = list_videos(
            config.data,
            config.root,
            config.split,
            fold=config.fold,
            subset=config.subset,
            subset_seed=config.subset_seed,
            index="none",
        )
        self.header = self._make_header()
        self.index = self._index_path()
        """Path of the index."""
        refuse_to_replace(self.index, "--index", b"{")
        self.seconds = 0.0
        """Time that this run has spent decoding."""
        self._paths = {_stored(video.path, self.root): video.path for video in self.listing.videos}
        self._findings: dict[str, Finding] = {}
        self._partial = self.index.with_name(f"{self.index.name}.partial")
        try:
            self._read_partial()
        except OSError as err:
            raise PermissionError(
                f"{self.index} cannot be written ({err.strerror}); name another place for the index with --index"
            ) from err
        self.resumed = len(self._findings)
        """Videos checked by an earlier run."""

    def __len__(self) -> int:
        return len(self._paths) - len(self._findings)

    def __iter__(self) -> Iterator[tuple[Path, Finding]]:
        start = time.perf_counter()
        reader = DATASETS[self.config.data].video_reader or self.config.reader
        check = WindowCheck(self.config.frames, self.config.stride, reader)
        names = {str(path): name for name, path in self._paths.items() if name not in self._findings}
        answers = run_all(
            check,
            list(names),
            num_workers=self.config.num_workers,
            time_limit_s=self.config.time_limit_s,
            memory_limit_mib=self.config.memory_limit_mib,
        )
        with self._partial.open("a", encoding="utf-8") as file:
            for path, answer in answers:
                finding = _broken(path, answer) if isinstance(answer, TaskFailure) else answer
                file.write(json.dumps({"path": names[path], **asdict(finding)}) + "\n")
                file.flush()
                self._findings[names[path]] = finding
                self.seconds = time.perf_counter() - start
                yield Path(path), finding

    def run(self) -> Report:
        """Check every video that is left, with a progress bar on standard error, and finish."""
        broken = 0
        with progress_bar(self, desc=self.config.split, unit="video") as bar:
            for _, finding in bar:
                broken += finding.status == "broken"
                bar.set_postfix(broken=broken, refresh=False)
        return self.finish()

    def finish(self) -> Report:
        """Write the index and the report once every video is checked."""
        if len(self):
            raise RuntimeError(f"{len(self)} videos are not checked yet; iterate first")
        names = [_stored(video.path, self.root) for video in self.listing.videos]
        rows = [
            Row(name, video.name, video.label, self._findings[name])
            for name, video in zip(names, self.listing.videos, strict=True)
        ]
        write_index(self.index, self.header, rows)
        report = Report.of(self.header, rows, root=self.root, index=self.index, seconds=self.seconds)
        write_whole(report.path, json.dumps(report.as_dict(), indent=1) + "\n")
        self._partial.unlink(missing_ok=True)  # a parallel check of the same split may have deleted it
        return report

    def _make_header(self) -> Header:
        listing, config = self.listing, self.config
        return Header(
            data=config.data,
            split=config.split,
            fold=config.fold,
            subset=config.subset,
            subset_seed=config.subset_seed,
            classes=listing.classes,
            annotated=listing.annotated,
            missing=listing.missing,
            videos=len(listing),
            frames=config.frames,
            stride=config.stride,
        )

    def _index_path(self) -> Path:
        name = index_name(self.config.data, Part(self.config.split, self.config.fold))
        if self.config.index is None:
            return self.root / name
        path = Path(self.config.index).expanduser()
        return path / name if path.is_dir() else path

    def _read_partial(self) -> None:
        """Read the findings of an earlier run, up to the line at which it was killed."""
        header = header_line(self.header)
        text = self._partial.read_text(encoding="utf-8", errors="replace") if self._partial.exists() else header
        first, *lines = text.splitlines() or [""]
        if first != header:
            logger.warning("%s belongs to another check (data, subset or window) and is discarded", self._partial)
            lines = []
        whole = [header]
        for line in lines:
            try:
                content = parse_json(line, str(self._partial))
                path, finding = content["path"], read_finding(content, str(self._partial))
                if path not in self._paths:
                    break
            except (ValueError, KeyError, TypeError):
                break
            self._findings[path] = finding
            whole.append(line)
        write_whole(self._partial, "".join(f"{line}\n" for line in whole))


def _stored(path: Path, root: Path) -> str:
    """Return a path as the index stores it: relative to the root if it lies below."""
    file, folder = os.path.abspath(path), os.path.abspath(root)
    return Path(file).relative_to(folder).as_posix() if file.startswith(folder + os.sep) else file


def _broken(path: str, failure: TaskFailure) -> Finding:
    """Return a finding without the path and decord's time of day in its cause, so that equal causes can be counted."""
    file, segment = str(split_span(path)[0].absolute()), str(Path(path).absolute())
    cause = failure.cause.removeprefix(f"{segment}: ").removeprefix(f"{file}: ").replace(file, "the file")
    return Finding(status="broken", cause=re.sub(r"\[\d\d:\d\d:\d\d\] ", "", cause))
