"""Measures the effect of pre-training on an encoder's features: probes before, during and after it."""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tats_gym.agents.config import PretrainConfig, preset_for
from tats_gym.agents.experiments.probe.report import effect_table, pretraining_effects, probe_figure
from tats_gym.agents.experiments.trials.trial import PROBES, Trial, latest_run, read_row, run_trials
from tats_gym.agents.experiments.trials.variations import with_agent
from tats_gym.clips.demo.files import demo_data_of
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.files.atomic import make_folder, write_whole
from tats_gym.jobs.parallel import default_jobs, side_by_side
from tats_gym.model.encoder import FeatureNorm, VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.pooling import POOLS, Pool
from tats_gym.probe import KnnConfig, LogisticConfig, Method, ProbeConfig, evaluate
from tats_gym.probe.features import FeatureConfig, Features, features_of
from tats_gym.provenance import commit
from tats_gym.registration import DEFAULT_ENV
from tats_gym.results import command_of, origin_of, results_folder, write_results
from tats_gym.runs.checkpoint import PATTERN, load_checkpoint
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

logger = logging.getLogger(__name__)

DEMO_TRAIN, DEMO_TEST = 1200, 600
"""Clips of the demo set that is probed: with the usual 384, chance alone would move the accuracy by six points."""
# The demo's features hardly differ in direction: stronger regularisation is tried than elsewhere.
DEMO_PROBE = ProbeConfig(
    logistic=LogisticConfig(strengths=(1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)), knn=KnnConfig(centre=True)
)
DEMO_POOLS: tuple[Pool, ...] = ("mean", "change", "frames")


@dataclass(frozen=True, kw_only=True)
class ProbeStudy:
    """The MAEs that are trained, and the probes of their encoders."""

    base: PretrainConfig
    """Trains each MAE; keeps a checkpoint at every step that is probed."""
    agents: tuple[str, ...] = ("random",)
    """Agents that choose the masks."""
    pools: tuple[Pool, ...] = DEMO_POOLS
    norms: tuple[FeatureNorm, ...] = ("encoder", "none")
    methods: tuple[Method, ...] = ("logistic", "knn")
    probe: ProbeConfig


def demo_probe_study(root: Path, *, epochs: int, epoch_masks: int, points: int) -> ProbeStudy:
    """Return the study of the preset `folder` on demo clips, probed at the start and at evenly spaced steps.

    Args:
        root: Folder of a demo set.
        epochs: Epochs of pre-training; a multiple of `points`.
        epoch_masks: Masks in an epoch.
        points: Number of probed steps after the start.
    """
    if points < 1 or epochs % points:
        raise ValueError(f"epochs must be a multiple of points, got {epochs} and {points}")
    interval = epochs // points * epoch_masks
    preset = preset_for(DEFAULT_ENV, "folder")
    base = replace(
        preset,
        clips=replace(preset.clips, root=str(root), cache_mib=3072),
        mae_optim=replace(preset.mae_optim, epochs=epochs, warmup_epochs=min(1, epochs - 1)),
        tats=replace(preset.tats, warmup_epochs=min(4, epochs - 1)),
        epoch_masks=epoch_masks,
        eval_interval=interval,
        checkpoint_interval=interval,
        keep_checkpoints=points,
    )
    return ProbeStudy(base=base, probe=DEMO_PROBE)


def run_probe_study(study: ProbeStudy, folder: Path, seeds: Sequence[int], *, jobs: int) -> list[dict[str, Any]]:
    """Pre-train and probe the trials that are not done yet, `jobs` at a time; return a row for each probe.

    Args:
        study: The study.
        folder: Holds a folder for each trial.
        seeds: Every agent trains with each.
        jobs: Parallel processes; each takes its share of the cores.
    """
    trials = [
        Trial(with_agent(replace(study.base, seed=seed), agent), folder / agent / f"seed{seed}")
        for seed in seeds
        for agent in study.agents
    ]
    run_trials(trials, jobs=jobs)
    waiting = [(trial, study) for trial in trials if not (trial.folder / PROBES).is_file()]
    for (trial, _), num_probes in side_by_side(probe_trial, waiting, jobs=jobs):
        logger.info("probed %s/%s: %d probes", trial.folder.parent.name, trial.folder.name, num_probes)
    rows = []
    for trial in trials:
        cost_s = read_row(trial.folder)["cost_s"]
        origin = {"agent": trial.config.agent, "seed": trial.config.seed, "pretraining_s": cost_s}
        rows += [{**origin, **row} for row in json.loads((trial.folder / PROBES).read_text())]
    return rows


def probe_trial(work: tuple[Trial, ProbeStudy]) -> int:
    """Probe a trained trial at its start and at each checkpoint, and write the rows; return their number."""
    trial, study = work
    kept = trial.folder / "features"
    rows = []
    for step, weights in _weights(trial):
        for norm in study.norms:
            encoder = VideoEncoder(trial.config.mae, trial.config.grid, norm=norm)
            load_encoder_weights(encoder, encoder_weights(weights))
            rows += [{"step": step, "norm": norm, **row} for row in _probes(encoder, trial.config, study, kept)]
    write_whole(trial.folder / PROBES, json.dumps(rows))
    shutil.rmtree(kept)
    return len(rows)


def _weights(trial: Trial) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Yield step and weights: those at the start of the training, then those of its checkpoints."""
    yield 0, build_mae(MAESource(trial.config.mae), trial.config.grid, seed=trial.config.seed).state_dict()
    for path in sorted((latest_run(trial.folder) / "checkpoints").glob(PATTERN)):
        state = load_checkpoint(path)
        yield state["step"], state["mae"]


def _probes(encoder: VideoEncoder, config: PretrainConfig, study: ProbeStudy, cache: Path) -> Iterator[dict[str, Any]]:
    """Probe one encoder with every pool and method; the clips are encoded once for all."""
    settings = FeatureConfig(pool="tokens", cache=str(cache), device=config.device, quiet=True)
    clips = replace(config.clips, cache_mib=0)  # each video is read once
    tokens = [features_of(encoder, part, settings) for part in (clips, clips.held_out)]
    for pool in study.pools:
        train, test = (pooled(features, pool, encoder) for features in tokens)
        for method in study.methods:
            evaluation = evaluate(method, train, test, study.probe, seed=config.seed).as_dict()
            del evaluation["per_class"]
            yield {"pool": pool, **evaluation, "commit": commit()}


def pooled(features: Features, pool: Pool, encoder: VideoEncoder) -> Features:
    """Pool features that are stored for every token."""
    width = encoder.config.embed_dim
    views = [POOLS[pool](view.unflatten(1, (-1, width)), encoder.grid.shape) for view in features.values]
    return replace(features, values=torch.stack(views))


def settings_of(study: ProbeStudy) -> dict[str, Any]:
    """Return the study as plain values, without the folders of its data."""
    values = asdict(study)
    values["base"]["clips"]["root"] = values["base"]["out"] = None
    return values


@dataclass(frozen=True, kw_only=True)
class ProbeDemo:
    """Data, lengths and folders of the study."""

    seeds: int = 3
    """The seeds 0, 1, ..."""
    agents: tuple[str, ...] = ("random",)
    """Agents of the pre-training, e.g. random tats."""
    epochs: int = 40
    """Epochs of pre-training; a multiple of points."""
    epoch_masks: int = 2400
    """Masks in an epoch."""
    points: int = 5
    """Number of probed steps after the start."""
    train: int = DEMO_TRAIN
    """Clips to pre-train on, and to fit the probes to."""
    test: int = DEMO_TEST
    """Clips on which the probes are measured."""
    jobs: int = field(default_factory=default_jobs)
    """Parallel runs; each takes its share of the cores and 4 GiB of memory."""
    out: Path = Path("runs/probe-demo")
    """Folder of the runs; a stopped study resumes there."""
    results: Path = field(default_factory=results_folder)
    """Folder of table, numbers and curves."""

    def __post_init__(self) -> None:
        check_plain(self)
        for name in ("seeds", "epochs", "epoch_masks", "points", "train", "test", "jobs"):
            check_intervals(self, **{name: "[1, inf)"})


def probe_demo(config: ProbeDemo) -> Iterator[str]:
    """Make the demo data, run the missing trials and write the results; yield the table, and where the results lie.

    Raises:
        ValueError: If `epochs` is not a multiple of `points`.
        StoppedError: If a run was stopped; the next call resumes it.
    """
    make_folder(config.results)  # before hours of work
    data = demo_data_of(config.train, config.test)
    study = demo_probe_study(data, epochs=config.epochs, epoch_masks=config.epoch_masks, points=config.points)
    study = replace(study, agents=config.agents)
    rows = run_probe_study(study, config.out, range(config.seeds), jobs=config.jobs)
    effects = pretraining_effects(rows)
    table = effect_table(effects, rows[0]["chance"])
    yield table
    record = {
        "about": "Top-1 of probes on the demo's held-out clips, pre-trained minus the same weights untrained",
        "command": command_of("tats-gym probe-demo", config),
        **origin_of(rows),
        "seeds": list(range(config.seeds)),
        "pretraining_s": sorted({(row["agent"], row["seed"], row["pretraining_s"]) for row in rows}),
        "table": table.splitlines(),
        "compared": [
            {**kind._asdict(), **{name: asdict(each) for name, each in pair._asdict().items()}}
            for kind, pair in effects.items()
        ],
        "settings": settings_of(study),
        "rows": rows,
    }
    title = f"probes of the demo's encoder by pre-training, {config.seeds} seeds; dotted: chance"
    yield write_results(config.results / "probe_demo", record, probe_figure(rows, title))
