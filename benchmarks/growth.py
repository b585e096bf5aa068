"""Measures how time and memory of the joint step grow with the batch, and with the clip's frames and size."""

import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tats_gym.agents.config import PRESETS
from tats_gym.benchmarks.record import benchmark_origin
from tats_gym.benchmarks.step import StepConfig, Work, measure
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.figures.canvas import pixels_of
from tats_gym.jobs.parallel import side_by_side
from tats_gym.messages import check_choice
from tats_gym.results import aligned, results_folder, write_results
from tats_gym.settings.config_io import check_plain
from tats_gym.train.precision import AUTO, Precision

logger = logging.getLogger(__name__)

AXES = {"batch_size": "clips in a step (num_envs)", "frames": "frames in a clip", "size": "height and width in pixels"}


@dataclass(frozen=True, kw_only=True)
class GrowthConfig:
    """The sizes that are measured."""

    preset: str = "paper-ssv2"
    """Preset that gives MAE, grid, sampler and recipe; see `tats-gym train --help`."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """Clips in a step, of the preset's frames and size."""
    frames: tuple[int, ...] = (16, 32, 48, 64)
    """Frames in a clip, at one clip a step."""
    sizes: tuple[int, ...] = (224, 448)
    """Heights and widths of a clip, at one clip a step."""
    recompute: bool = False
    """Recompute the activations within the MAE's blocks in the backward pass."""
    precision: Precision = AUTO
    """Precision of the forward passes."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    label: str = "cpu"
    """Name of the machine, for the name of the record."""
    results: Path = field(default_factory=results_folder)
    """Folder of record and picture."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_choice("preset", self.preset, PRESETS)


def run(config: GrowthConfig) -> None:
    """Time and memory of the joint step as batch, frames and size grow."""
    record: dict[str, Any] = {"about": "seconds and peak memory of a joint step; each in a process of its own"}
    record |= benchmark_origin("growth", config)
    root = str(make_demo_data())
    base = StepConfig(
        preset=config.preset,
        batch_size=1,
        precision=config.precision,
        device=config.device,
        recompute=config.recompute,
        steps=1,
    )
    values = {"batch_size": config.batch_sizes, "frames": config.frames, "size": config.sizes}
    record["axes"] = {name: [_point(base, name, value, root) for value in each] for name, each in values.items()}
    for name, points in record["axes"].items():
        record[f"exponents_{name}"] = exponents(points)
    print("\n".join(report(record)))
    written = write_results(config.results / f"growth_{config.label}", record, picture(record, config.preset))
    print(f"\n{written}")


def _point(base: StepConfig, name: str, value: int, root: str) -> dict[str, Any]:
    changed: dict[str, Any] = {name: value}
    config = replace(base, **changed)
    ((_, measured),) = side_by_side(measure, [Work("joint", config, root)], jobs=1, own_process=True)
    grid = replace(
        PRESETS[base.preset].grid,
        **{key: setting for key in ("frames", "size") if (setting := getattr(config, key)) is not None},
    )
    point = {
        "value": value,
        "tokens": grid.num_tokens,
        "s_a_step": measured["s_a_clip"] * config.batch_size,
        "peak_memory_mib": measured["peak_memory_mib"],
        "gflop_a_step": measured["gflop_a_clip"] * config.batch_size,
    }
    logger.info("%s %d: %.2f s, %.0f MiB", name, value, point["s_a_step"], point["peak_memory_mib"])
    return point


def exponents(points: list[dict[str, Any]]) -> dict[str, float]:
    """Return the power of the axis with which time, operations and memory grow between its last two values.

    Memory counts above the first point's, which leaves out the fixed memory of a process.
    """
    if len(points) < 3:
        return {}
    low, high = points[-2:]
    slopes = {}
    for name in ("s_a_step", "gflop_a_step", "peak_memory_mib"):
        first = points[0][name] if name == "peak_memory_mib" else 0.0
        start = points[0]["value"] if name == "peak_memory_mib" else 0
        grown = (high[name] - first) / max(low[name] - first, 1e-9)
        steps = (high["value"] - start) / (low["value"] - start)
        slopes[name] = round(math.log(max(grown, 1e-9)) / math.log(steps), 2)
    return slopes


def report(record: dict[str, Any]) -> list[str]:
    """Return a table for each axis."""
    lines = []
    for name, points in record["axes"].items():
        rows = [[AXES[name], "tokens", "s a step", "GFLOP a step", "peak MiB"]]
        rows += [
            [
                f"{p['value']}",
                f"{p['tokens']}",
                f"{p['s_a_step']:.2f}",
                f"{p['gflop_a_step']:.0f}",
                f"{p['peak_memory_mib']:.0f}",
            ]
            for p in points
        ]
        lines += [*aligned(rows), ""]
    return lines


def picture(record: dict[str, Any], title: str) -> NDArray[np.uint8]:
    """Draw seconds and memory over each axis: (height, width, 3)."""
    figure = Figure(figsize=(10, 5.5), dpi=100, layout="constrained")
    rows = (("s_a_step", 1.0, "seconds a step"), ("peak_memory_mib", 2**-10, "peak memory, GiB"))
    axes = figure.subplots(2, len(record["axes"]), squeeze=False)
    for column, (name, points) in zip(axes.T, record["axes"].items(), strict=True):
        for axis, (measure_name, scale, label) in zip(column, rows, strict=True):
            heights = [scale * point[measure_name] for point in points]
            axis.plot([point["value"] for point in points], heights, "o-")
            axis.set(xlim=(0, 1.05 * points[-1]["value"]), ylim=(0, 1.1 * max(heights)), ylabel=label)
            axis.grid(alpha=0.3)
        column[-1].set_xlabel(AXES[name])
    figure.suptitle(f"joint step, {title}")
    return pixels_of(figure)
