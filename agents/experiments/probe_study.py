"""What pre-training adds to an encoder's features: probes before, during and after it, seed by seed."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.experiments.study import with_agent
from tats_gym.agents.experiments.trials import Cell, latest_run, run_cells
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.files.atomic import write_whole
from tats_gym.model.encoder import FeatureNorm, VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.pooling import POOLS, Pool
from tats_gym.probe import KnnConfig, LogisticConfig, Method, ProbeConfig, evaluate
from tats_gym.probe.features import FeatureConfig, Features, features_of
from tats_gym.runs.checkpoint import PATTERN, load_checkpoint
from tats_gym.runs.folder import commit
from tats_gym.runs.parallel_jobs import side_by_side

logger = logging.getLogger(__name__)

PROBES = "probes.json"
DEMO_TRAIN, DEMO_TEST = 1200, 600
"""Clips of the demo set that is probed: of the usual 384, chance alone would move the accuracy by six points."""
# The demo's features have hardly a direction: strengths go further than elsewhere.
DEMO_PROBE = ProbeConfig(
    logistic=LogisticConfig(strengths=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)), knn=KnnConfig(centre=True)
)
SHOWN_TEST_POOLS: tuple[Pool, ...] = ("mean", "change", "frames")


@dataclass(frozen=True, kw_only=True)
class ProbeStudy:
    """What is trained, and how its features are read."""

    base: PretrainConfig
    """Trains each MAE; checkpoints are kept at all times that are probed."""
    agents: tuple[str, ...] = ("random",)
    """Who makes the masks."""
    pools: tuple[Pool, ...] = SHOWN_TEST_POOLS
    norms: tuple[FeatureNorm, ...] = ("encoder", "none")
    methods: tuple[Method, ...] = ("logistic", "knn")
    probe: ProbeConfig


def demo_study(root: Path, *, epochs: int, epoch_clips: int = 2_400, points: int = 5) -> ProbeStudy:
    """The demo preset, trained for longer, and probed at the start and at `points` times spread evenly.

    Args:
        root: A demo set.
        epochs: Of the pre-training; a multiple of `points`.
        epoch_clips: Clips in one of them.
        points: Times at which it is probed.
    """
    if points < 1 or epochs % points:
        raise ValueError(f"epochs must be a multiple of points, got {epochs} and {points}")
    interval = epochs // points * epoch_clips
    preset = PRESETS["demo"]
    base = replace(
        preset,
        clips=replace(preset.clips, root=str(root), cache_mib=3072),
        mae_optim=replace(preset.mae_optim, epochs=epochs, warmup_epochs=min(1, epochs - 1)),
        tats=replace(preset.tats, warmup_epochs=min(4, epochs - 1)),
        epoch_clips=epoch_clips,
        eval_interval=interval,
        checkpoint_interval=interval,
        keep_checkpoints=points,
    )
    return ProbeStudy(base=base, probe=DEMO_PROBE)


def run_probe_study(study: ProbeStudy, folder: Path, seeds: Sequence[int], *, jobs: int) -> list[dict[str, Any]]:
    """Pre-train and probe what has not been yet, `jobs` cells side by side; return one row a probe.

    Args:
        study: What to run.
        folder: Holds a folder for each cell.
        seeds: Every agent trains with each.
        jobs: Processes; each takes its share of the cores.
    """
    cells = [
        Cell(with_agent(replace(study.base, seed=seed), agent), folder / agent / f"seed{seed}")
        for seed in seeds
        for agent in study.agents
    ]
    run_cells(cells, jobs=jobs)
    waiting = [(cell, study) for cell in cells if not (cell.folder / PROBES).is_file()]
    for (cell, _), took in side_by_side(probe_cell, waiting, jobs=jobs):
        logger.info("probed %s/%s: %d probes", cell.folder.parent.name, cell.folder.name, took)
    rows = []
    for cell in cells:
        cost_s = json.loads((cell.folder / "row.json").read_text())["cost_s"]
        origin = {"agent": cell.config.agent, "seed": cell.config.seed, "pretraining_s": cost_s}
        rows += [{**origin, **row} for row in json.loads((cell.folder / PROBES).read_text())]
    return rows


def probe_cell(work: tuple[Cell, ProbeStudy]) -> int:
    """Probe a trained cell at all its times, and write the rows whole; return how many there are."""
    cell, study = work
    kept = cell.folder / "features"
    rows = []
    for step, weights in _weights(cell):
        for norm in study.norms:
            encoder = VideoEncoder(cell.config.mae, cell.config.grid, norm=norm)
            load_encoder_weights(encoder, encoder_weights(weights))
            rows += [{"step": step, "norm": norm, **row} for row in _probes(encoder, cell.config, study, kept)]
    write_whole(cell.folder / PROBES, json.dumps(rows))
    shutil.rmtree(kept)
    return len(rows)


def _weights(cell: Cell) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """The weights that the training began with, then those of its checkpoints."""
    yield 0, build_mae(MAESource(cell.config.mae), cell.config.grid, seed=cell.config.seed).state_dict()
    for path in sorted((latest_run(cell.folder) / "checkpoints").glob(PATTERN)):
        state = load_checkpoint(path)
        yield state["step"], state["mae"]


def _probes(encoder: VideoEncoder, config: PretrainConfig, study: ProbeStudy, cache: Path) -> Iterator[dict[str, Any]]:
    """Probe one encoder by every pool and method; the clips are encoded once for all of them."""
    settings = FeatureConfig(pool="tokens", cache=str(cache), device=config.device, quiet=True)
    clips = replace(config.clips, cache_mib=0)  # every video is read once
    tokens = [features_of(encoder, part, settings) for part in (clips, clips.held_out)]
    for pool in study.pools:
        train, test = (pooled(features, pool, encoder) for features in tokens)
        for method in study.methods:
            found = evaluate(method, train, test, study.probe, seed=config.seed).as_dict()
            del found["per_class"]
            yield {"pool": pool, **found, "commit": commit()}


def pooled(features: Features, pool: Pool, encoder: VideoEncoder) -> Features:
    """Pool features that were kept for every token."""
    width = encoder.config.embed_dim
    views = [POOLS[pool](view.unflatten(1, (-1, width)), encoder.grid.shape) for view in features.values]
    return replace(features, values=torch.stack(views))


def settings_of(study: ProbeStudy) -> dict[str, Any]:
    """The study as plain values, without where its data lie."""
    values = asdict(study)
    values["base"]["clips"]["root"] = values["base"]["out"] = None
    return values
