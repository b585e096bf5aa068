"""Measures clips a second of readers, of our loader, and of a loader like the published VideoMAE's."""

import importlib.util
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tats_gym.benchmarks.rates import (
    Clips,
    loader_rate,
    normalisation_s,
    our_loader,
    reader_rate,
    side_by_side_rate,
    their_loader,
    wait_share,
)
from tats_gym.benchmarks.record import benchmark_origin, over_rounds
from tats_gym.benchmarks.videos import COPIES, FORMATS, make_videos
from tats_gym.clips.readers import READERS
from tats_gym.results import results_folder, write_results
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import TokenGrid

logger = logging.getLogger(__name__)

MODULES = {"pyav": "av"}
"""Reader to the module that it needs, if the names differ."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Videos and settings of the measurement."""

    kinds: tuple[Literal["h264", "vp9", "mpeg4", "mjpeg"], ...] = ("h264", "vp9", "mpeg4", "mjpeg")
    """Formats of the generated videos, see tats_gym/benchmarks/videos.py."""
    contents: int = 6
    """Videos of each format that are drawn and encoded; each is copied to five files."""
    root: Path | None = None
    """A folder of videos to read instead; every one of them must decode."""
    stride: int = 4
    """Frames from one frame of a clip to the next in the videos of `root`."""
    num_workers: int = os.cpu_count() or 1
    """Processes that decode."""
    frames: int = 16
    """Frames in a clip, T."""
    size: int = 224
    """Height and width of a clip in pixels."""
    batch_size: int = 32
    """Clips in a batch, B."""
    rounds: int = 5
    """Rounds, each of which measures everything in turn; reported ratios are medians over rounds."""
    seconds: float = 6.0
    """Duration of one measurement."""
    step_s: float = 0.25
    """Seconds of the sleep that stands for a training step on a GPU."""
    label: str = "made"
    """Name of the videos, for the name of the record."""
    results: Path = field(default_factory=results_folder)
    """Folder of the record."""

    def __post_init__(self) -> None:
        check_plain(self)
        for name in ("contents", "stride", "frames", "size", "batch_size", "rounds"):
            check_intervals(self, **{name: "[1, inf)"})
        check_intervals(self, num_workers="[0, inf)", seconds="(0, inf)", step_s="[0, inf)")

    @property
    def grid(self) -> TokenGrid:
        """The clip's geometry."""
        return TokenGrid(frames=self.frames, size=self.size)


def run(config: DataConfig) -> None:
    """Readers, our loader and a loader like the published VideoMAE's, in clips a second."""
    normalisation = normalisation_s(config.grid, batch_size=8, rounds=config.rounds)
    record = benchmark_origin("data", config) | {
        "settings": {"num_workers": config.num_workers, "batch_size": config.batch_size, "clip": config.grid.clip_shape}
        | {"seconds": config.seconds, "step_s": config.step_s},
        "normalisation_ms_a_clip": round(1000 * normalisation, 3),
        "videos": {},
    }
    for name, clips in sources(config).items():
        record["videos"][name] = numbers = measure(name, clips, config, normalisation)
        print("\n".join(report(numbers, config)), end="\n\n", flush=True)
    print(f"normalisation on the CPU, which a GPU does within the step: {1000 * normalisation:.2f} ms a clip")
    print(write_results(config.results / f"data_{config.label}", record))


def sources(config: DataConfig) -> dict[str, Clips]:
    """Return the sets of videos by name."""

    def clips(root: Path, stride: int) -> Clips:
        return Clips(
            root=root,
            stride=stride,
            grid=config.grid,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
        )

    if config.root is not None:
        return {"folder": clips(config.root, config.stride)}
    return {name: clips(make_videos(name, contents=config.contents), FORMATS[name].stride) for name in config.kinds}


def measure(name: str, clips: Clips, config: DataConfig, normalisation: float) -> dict[str, Any]:
    """Measure one set of videos: everything once a round, in alternating order."""
    about = "the videos of the folder"
    if config.root is None:
        about = f"{FORMATS[name].about}; moving 1/f noise, {config.contents} contents in {COPIES} copies each"
    values: dict[str, list[float]] = {}
    for number in range(config.rounds):
        logger.info("%s: round %d of %d", name, number + 1, config.rounds)
        turns = [*(f"reader {reader}" for reader in readers()), "alone", "ours", "theirs"]
        for turn in turns if number % 2 == 0 else reversed(turns):
            for measure_name, value in take_turn(turn, clips, config, seed=number).items():
                values.setdefault(measure_name, []).append(value)
    ours, theirs, alone = (values[turn] for turn in ("ours", "theirs", "alone"))
    workers = clips.num_workers
    return {
        "about": about,
        "files": len(clips.videos),
        "mean_bytes": sum(video.path.stat().st_size for video in clips.videos) // len(clips.videos),
        "stride": clips.stride,
        "one_process": {reader: over_rounds(values[f"reader {reader}"]) for reader in readers()},
        "processes_without_loader": over_rounds(alone),
        "ours": over_rounds(ours),
        "theirs": over_rounds(theirs),
        "loss_to_plumbing": over_rounds([1 - a / b for a, b in zip(ours, alone, strict=True)]),
        "ours_over_theirs": over_rounds([a / b for a, b in zip(ours, theirs, strict=True)]),
        "ours_over_theirs_if_normalised_on_the_cpu": over_rounds(
            [1 / (workers / a + normalisation) / (b / workers) for a, b in zip(ours, theirs, strict=True)]
        ),
        "wait_share_of_emulated_steps": {
            "what": f"no MAE is trained: a step is a sleep of {config.step_s} s, and takes {clips.batch_size} clips",
            "ours": over_rounds(values["ours waits"]),
            "theirs": over_rounds(values["theirs waits"]),
        },
    }


def readers() -> list[Any]:
    """Return the readers whose libraries are installed."""
    names = [reader for reader in READERS if reader != "auto"]
    return [reader for reader in names if importlib.util.find_spec(MODULES.get(reader, reader))]


def take_turn(turn: str, clips: Clips, config: DataConfig, seed: int) -> dict[str, float]:
    """Measure total clips a second in one turn, and for a loader also the share of time that a training would wait."""
    if turn.startswith("reader "):
        reader: Any = turn.removeprefix("reader ")
        return {turn: reader_rate(clips, reader, config.seconds / 2, seed)}
    if turn == "alone":
        return {turn: side_by_side_rate(clips, config.seconds, seed)}
    with (our_loader if turn == "ours" else their_loader)(clips, seed) as take:
        rate = loader_rate(take, clips, config.seconds)
        return {turn: rate, f"{turn} waits": wait_share(take, config.step_s, config.seconds)}


def report(numbers: dict[str, Any], config: DataConfig) -> list[str]:
    """Return the table of one set of videos."""
    workers = config.num_workers

    def row(title: str, values: dict[str, Any], share: float = 1.0) -> str:
        low, high = min(values["rounds"]) / share, max(values["rounds"]) / share
        return f"  {title:<58}{values['median'] / share:>8.3g}   ({low:.3g} to {high:.3g})"

    lines = [
        f"{numbers['about']}; {numbers['files']} files of {numbers['mean_bytes'] / 1000:.0f} kB, "
        f"stride {numbers['stride']}"
    ]
    lines += ["  clips/s per core, median (range) over rounds:"]
    lines += [row(f"{reader}, one process, one thread", rates) for reader, rates in numbers["one_process"].items()]
    lines += [
        row(f"{workers} processes without a loader", numbers["processes_without_loader"], workers),
        row(f"ClipStream, {workers} workers: uint8", numbers["ours"], workers),
        row(f"DataLoader as VideoMAE's, {workers} workers: float32, normalised", numbers["theirs"], workers),
        "  ratios within rounds:",
        row("ClipStream's loss to plumbing, target at most 0.1", numbers["loss_to_plumbing"]),
        row("ClipStream / DataLoader, target at least 1.5", numbers["ours_over_theirs"]),
        row("  if it normalised on the CPU too", numbers["ours_over_theirs_if_normalised_on_the_cpu"]),
    ]
    waited = numbers["wait_share_of_emulated_steps"]
    lines += [
        f"  share of its time that a training would wait; {waited['what']}:",
        row(f"ClipStream, {workers} workers", waited["ours"]),
        row(f"DataLoader as VideoMAE's, {workers} workers", waited["theirs"]),
    ]
    return lines
