"""Measures the joint step, its parts and the peers' steps in seconds a clip, in turn, each in its own process."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.trajectory_attention import TrajectoryAttention
from tats_gym.benchmarks.copies import CopyCount
from tats_gym.benchmarks.published import PublishedTrajectoryAttention
from tats_gym.benchmarks.record import benchmark_origin
from tats_gym.benchmarks.step_ours import JointStep
from tats_gym.benchmarks.step_peers import AdaMAEStep, VideoMAEStep
from tats_gym.benchmarks.step_report import ratio, report, summary
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.jobs.parallel import side_by_side
from tats_gym.messages import check_choice
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.results import results_folder, write_results
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import CHANNELS, TokenGrid
from tats_gym.train.memory import peak_memory_mib
from tats_gym.train.precision import AUTO, Precision, autocast, resolve_device, resolve_precision

logger = logging.getLogger(__name__)

OURS: dict[str, dict[str, Any]] = {
    "joint": {},
    "joint, n_epochs 4": {"tats": {"n_epochs": 4}},
    "joint, critic separate": {"sampler": {"critic": "separate"}},
    "joint, critic shared": {"sampler": {"critic": "shared"}},
    "joint, width 192": {"sampler": {"width": 192}},
    "joint, width 192, decode_ratio 0.5": {"sampler": {"width": 192}, "decode_ratio": 0.5},
    "MAE alone": {"agent": "random"},
}
TARGETS: dict[str, dict[str, Any]] = {
    "MAE alone, target hog": {"agent": "random", "target": "hog"},
    "MAE alone, target ema": {"agent": "random", "target": "ema"},
}
"""A teacher of the same size costs as much as ema. They are measured where `--variants` names them."""
PEERS = {
    f"{name}, {how}": (step, how == "fused")
    for name, step in (("AdaMAE", AdaMAEStep), ("VideoMAE tube", VideoMAEStep))
    for how in ("as published", "fused", "as published, in fp32")
}
IN_FP32 = frozenset(name for name in PEERS if name.endswith("fp32"))
"""Always measured in fp32; left out if the others are in fp32 too."""
ATTENTION = {
    "trajectory attention": TrajectoryAttention,
    "trajectory attention, as published": PublishedTrajectoryAttention,
}
VARIANTS = (*OURS, *PEERS, *ATTENTION)
RATIOS = [
    *((joint, peer) for joint in OURS if joint != "MAE alone" for peer in PEERS),
    ("MAE alone", "VideoMAE tube, fused"),
    *((variant, "MAE alone") for variant in TARGETS),
    tuple(ATTENTION),
]


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """Variants and settings of the measurement."""

    preset: str = "paper-ssv2"
    """Preset that gives MAE, grid, sampler and recipe; see `tats-gym train --help`."""
    batch_size: int = 4
    """Clips in a step."""
    frames: int | None = None
    """Frames in a clip; None takes the preset's."""
    size: int | None = None
    """Height and width of a clip; None takes the preset's."""
    recompute: bool = False
    """Recompute the activations within the blocks of our MAE in the backward pass."""
    mask_ratio: float | None = None
    """Mask ratio of the joint step and of AdaMAE; None takes the preset's. VideoMAE's tubes show a tenth of the places,
    as published."""
    precision: Precision = AUTO
    """Precision of the forward passes."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    variants: tuple[str, ...] = VARIANTS
    """Steps to measure, by name."""
    rounds: int = 3
    """Rounds, each of which measures all variants, in alternating order."""
    steps: int = 2
    """Steps in one measurement, after a first one that is not counted."""
    label: str = "cpu"
    """Name of the machine, for the name of the record."""
    results: Path = field(default_factory=results_folder)
    """Folder of the record."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_choice("preset", self.preset, PRESETS)
        for variant in self.variants:
            check_choice("variants", variant, (*VARIANTS, *TARGETS))
        check_intervals(self, batch_size="[1, inf)", frames="[1, inf)", size="[1, inf)", mask_ratio="(0, 1)")
        check_intervals(self, rounds="[1, inf)", steps="[1, inf)")


@dataclass(frozen=True)
class Work:
    """One measurement of one variant."""

    variant: str
    """One of `VARIANTS` or `TARGETS`."""
    config: StepConfig
    root: str
    """Folder of the demo's videos."""

    @property
    def precision(self) -> Precision:
        """Precision of this variant's forward passes."""
        return "fp32" if self.variant in IN_FP32 else self.config.precision


def run(config: StepConfig) -> None:
    """Seconds a clip of our joint step, its parts and the peers' steps."""
    record: dict[str, Any] = {"about": "seconds a clip of training steps; clips lie ready, none are decoded"}
    record |= benchmark_origin("step", config)
    root = str(make_demo_data())
    variants = measured_variants(config)
    by_variant: dict[str, list[dict[str, Any]]] = {variant: [] for variant in variants}
    for number in range(config.rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            ((_, values),) = side_by_side(measure, [Work(variant, config, root)], jobs=1, own_process=True)
            logger.info("round %d: %s, %.3f s a clip", number + 1, variant, values["s_a_clip"])
            by_variant[variant].append(values)
    record["variants"] = {variant: summary(rounds) for variant, rounds in by_variant.items()}
    record["ratios"] = {
        f"{ours} / {theirs}": ratio(by_variant[ours], by_variant[theirs])
        for ours, theirs in RATIOS
        if ours in by_variant and theirs in by_variant
    }
    written = write_results(config.results / f"step_{config.label}", record)
    print("\n".join(report(record)))
    print(f"\n{written}")


def measured_variants(config: StepConfig) -> tuple[str, ...]:
    """Return the requested variants, without those that would be measured twice in fp32."""
    if resolve_precision(config.precision, resolve_device(config.device)) != "fp32":
        return config.variants
    return tuple(variant for variant in config.variants if variant not in IN_FP32)


def measure(work: Work) -> dict[str, Any]:
    """Measure one variant in this process: time, operations, matrix rate, bytes copied, peak memory."""
    config = work.config
    device = resolve_device(config.device)
    torch.manual_seed(0)
    step, clips = prepare(work, device)
    step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(config.steps):
        step()
    _wait(device)
    seconds = (time.perf_counter() - started) / config.steps
    peak = peak_memory_mib(device)
    with FlopCounterMode(display=False) as flops, CopyCount() as copies:
        step()
    result: dict[str, Any] = {
        "s_a_clip": seconds / clips,
        "peak_memory_mib": peak,
        "gflop_a_clip": flops.get_total_flops() / clips / 1e9,
        "gflop_per_s": flops.get_total_flops() / seconds / 1e9,
        "copied_bytes_a_clip": copies.bytes / clips,
        "matrix_gflop_per_s": matrix_rate(work.precision, device) / 1e9,
    }
    if isinstance(step, JointStep):
        with step.timed() as parts:
            step()
        result["parts_s_a_clip"] = {name: value / clips for name, value in parts.items()}
    return result


def prepare(work: Work, device: torch.device) -> tuple[Callable[[], Any], int]:
    """Build a variant; return its step as a function, and the clips in a step."""
    config, preset = work.config, PRESETS[work.config.preset]
    changes = {name: getattr(config, name) for name in ("frames", "size", "mask_ratio")}
    grid = replace(preset.grid, **{name: value for name, value in changes.items() if value is not None})
    shape = (config.batch_size, CHANNELS, grid.frames, grid.size, grid.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    if device.type == "cuda":
        pixels = pixels.pin_memory()
    ours = OURS | TARGETS
    if work.variant in ours:
        joint = JointStep(_joint(preset, config, ours[work.variant], grid), pixels, work.root)
        return joint, joint.clips_per_call
    if work.variant in ATTENTION:
        return _attention_step(work.variant, preset, grid, config, device), config.batch_size
    peer, fused = PEERS[work.variant]
    if peer is VideoMAEStep:
        t, h, w = grid.shape
        grid = replace(grid, visible=t * max(1, round(h * w * 0.1)))
    videos = _normalised(pixels)
    step = peer(preset.mae, grid, videos, device=device, precision=work.precision, fused=fused)
    return step, config.batch_size


def _joint(preset: PretrainConfig, config: StepConfig, changes: dict[str, Any], grid: TokenGrid) -> PretrainConfig:
    nested = {name: replace(getattr(preset, name), **changes.get(name, {})) for name in ("tats", "sampler")}
    base = replace(preset, num_envs=config.batch_size, grid=grid, seed=0, recompute=config.recompute)
    return replace(base, device=config.device, precision=config.precision, **{**changes, **nested})


def _attention_step(
    variant: str, preset: PretrainConfig, grid: TokenGrid, config: StepConfig, device: torch.device
) -> Callable[[], Any]:
    width = preset.sampler.width or preset.mae.embed_dim
    module = ATTENTION[variant](width, width // preset.sampler.head_dim, grid.shape[0]).to(device)
    x = torch.randn(config.batch_size, grid.num_tokens, width, device=device, requires_grad=True)

    def step() -> None:
        with autocast(config.precision, device):
            output = module(x)
        output.float().square().mean().backward()

    return step


def _normalised(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(each)[:, None, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD))
    videos = (pixels.float() / 255 - mean) / std
    return videos.pin_memory() if pixels.is_pinned() else videos


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(precision: Precision, device: torch.device) -> float:
    """Return the operations a second of a large matrix product in this precision, the best of five."""
    size = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(5):
        _wait(device)
        started = time.perf_counter()
        left @ right
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
