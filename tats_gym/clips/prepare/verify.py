"""Opens every video of a split, decodes one window of it and checks some frames; the findings are the split's index."""

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
from tats_gym.clips.prepare.frame_check import hands_out_other_frames
from tats_gym.clips.prepare.verify_report import Report
from tats_gym.clips.readers import Reader, VideoReadError, open_video
from tats_gym.clips.workers.pool import run_all
from tats_gym.clips.workers.supervisor import Lost
from tats_gym.datasets import Split
from tats_gym.files.atomic import write_whole
from tats_gym.files.text import parse_json
from tats_gym.runs.kinds import refuse_to_replace
from tats_gym.runs.progress import progress_bar
from tats_gym.tokens import TokenGrid

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """What is verified, how, and where the index goes."""

    data: str
    """Dataset, see `list_videos`."""
    root: str | None = None
    """The dataset's folder, see `data_root`."""
    split: Split = ClipConfig.split
    """Part of the dataset."""
    fold: int = ClipConfig.fold
    """Which official division of UCF101 and HMDB51."""
    subset: float | None = None
    """Verify only this share of every class, or this number of clips of every class."""
    subset_seed: int = ClipConfig.subset_seed
    """Another one gives another subset."""
    index: str | None = None
    """File of the index, or a folder for it; None takes the dataset's own folder."""
    frames: int = TokenGrid.frames
    """Frames of the window, T."""
    stride: int = ClipConfig.stride
    """Frames from one of them to the next."""
    reader: Reader = ClipConfig.reader
    """Library that decodes, see `open_video`."""
    num_workers: int = ClipConfig.num_workers
    """Processes that decode; 0 decodes in the calling process, without limits."""
    time_limit_s: float = ClipConfig.time_limit_s
    """Seconds after which a video counts as broken, and the process that reads it is replaced."""
    memory_limit_mib: int = ClipConfig.memory_limit_mib
    """Memory at which a process is replaced; a video that takes twice as much counts as broken."""

    def __post_init__(self) -> None:
        for name in ("frames", "stride", "memory_limit_mib"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}")
        if self.time_limit_s <= 0:
            raise ValueError(f"time_limit_s must be above 0, got {self.time_limit_s}")


@dataclass(frozen=True)
class WindowCheck:
    """Decodes the window in the middle of a video, and checks that its frames come at their places."""

    frames: int
    stride: int
    reader: Reader

    def __call__(self, path: str) -> Finding:
        """What the video is like.

        Raises:
            VideoReadError: The window does not decode.
        """
        try:
            with closing(open_video(path, self.reader)) as video:
                length, fps = len(video), video.fps
                if not length:
                    raise VideoReadError(f"{path}: it holds no frame")
                window = length, self.frames, self.stride
                indices = window_indices(*window, centre_start(*window)).tolist()
                height, width = video.get_batch(indices).shape[1:3]  # of (T, H, W, 3)
                misplaced = hands_out_other_frames(video, Path(path))
        except VideoReadError:
            raise
        except OSError as err:  # the disk's own, such as a file that may not be read
            raise VideoReadError(f"{path}: {err.strerror or err}") from err
        status: Status = "ok" if length >= self.frames * self.stride else "short"
        return Finding(
            frames=length,
            fps=round(fps, 3) if math.isfinite(fps) else 0.0,
            width=width,
            height=height,
            status="misplaced" if misplaced else status,
            cause=f"reader {self.reader!r} hands out other frames than those asked for" if misplaced else None,
        )


class Verification:
    """The check of one split. Iterating opens the videos that no earlier run came to; `len` counts them.

    What is found is kept line by line in `INDEX.partial`, so that a run that was stopped goes on where it was.

    Raises:
        MissingDataError: The dataset is not on the disk.
        PermissionError: The index cannot be written where it should go.
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
        """Where the index goes."""
        refuse_to_replace(self.index, "--index", b"{")
        self.seconds = 0.0
        """How long this run has decoded."""
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
        """Videos that an earlier run had checked."""

    def __len__(self) -> int:
        return len(self._paths) - len(self._findings)

    def __iter__(self) -> Iterator[tuple[Path, Finding]]:
        start = time.perf_counter()
        check = WindowCheck(self.config.frames, self.config.stride, self.config.reader)
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
                finding = _broken(path, answer) if isinstance(answer, Lost) else answer
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
        self._partial.unlink(missing_ok=True)  # another check of the same split may have ended first
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
        """Take up what an earlier run found, up to the line that it was writing when it was killed."""
        header = header_line(self.header)
        text = self._partial.read_text(encoding="utf-8", errors="replace") if self._partial.exists() else header
        first, *lines = text.splitlines() or [""]
        if first != header:
            logger.warning("%s is of another check (data, subset or window); it is dropped", self._partial)
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
    """A path as the index has it: relative to the root where it lies below."""
    file, folder = os.path.abspath(path), os.path.abspath(root)
    return Path(file).relative_to(folder).as_posix() if file.startswith(folder + os.sep) else file


def _broken(path: str, lost: Lost) -> Finding:
    """A finding whose cause holds neither the path nor decord's time of day, so that equal causes can be counted."""
    file = str(Path(path).absolute())
    cause = lost.cause.removeprefix(f"{file}: ").replace(file, "the file")
    return Finding(status="broken", cause=re.sub(r"\[\d\d:\d\d:\d\d\] ", "", cause))
