"""Measures of a comparison beyond a run's own row: masks under another run's MAE, and probes of the encoder."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.trials.stored_results import read_result, store_result
from tats_gym.agents.experiments.trials.trial import FINAL_MASKS, MASKS_FILE, PROBES, Trial, latest_run
from tats_gym.agents.training.measures.evaluation import held_out_for
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.jobs.work_queue import name_of, share_out
from tats_gym.model.encoder import FeatureNorm, VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.model.pooling import Pool
from tats_gym.model.videomae import MaskedAutoencoder
from tats_gym.probe import Method, ProbeConfig, evaluate
from tats_gym.probe.features import FeatureConfig, features_of, weights_digest
from tats_gym.probe.labels import check_labels, labels_of
from tats_gym.probe.logistic import held_out_videos
from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.targets.table import build_target
from tats_gym.train.precision import resolve_device

logger = logging.getLogger(__name__)


# --- Under one MAE ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReferenceMeasurement:
    """The masks of one seed, to be measured by one MAE."""

    config: PretrainConfig
    """Settings that the runs share, with their seed."""
    mae: str
    """A run or a checkpoint."""
    runs: dict[str, Path]
    """Agent to the folder of its trial."""
    file: Path
    """File of the result."""


def measure_under_reference(work: ReferenceMeasurement) -> dict[str, dict[str, float]]:
    """Measure each agent's final masks under the reference MAE: `reference_gain`, and the errors behind it.

    The agent chose its masks from its own MAE's tokens. Their gain is the reference's error under fixed random masks of
    the same clips minus its error under the agent's; `reference_content_gain` is its error under the agent's masks of
    other clips minus that error.
    """
    masks = {agent: np.load(folder / MASKS_FILE) for agent, folder in work.runs.items()}  # (S, B, K)
    mae = reference_mae(work.mae, work.config).to(resolve_device(work.config.device))
    inputs = {"mae": weights_digest(mae), "measures": "gain, content gain"} | {
        agent: blake2b(each.tobytes()).hexdigest() for agent, each in masks.items()
    }

    def measure() -> dict[str, dict[str, float]]:
        held_out = held_out_for(work.config, mae, num_masks=FINAL_MASKS)
        random = held_out.errors_by_token(held_out.random_ids_keep)
        results = {}
        for agent, each in masks.items():
            ids_keep = torch.from_numpy(each)
            metrics = held_out.metrics(ids_keep, held_out.errors(ids_keep), random)
            results[agent] = {
                "reference_gain": metrics.gain,
                "reference_content_gain": metrics.content_gain,
                "reference_error": metrics.error_own,
                "reference_error_random": metrics.error_random,
            }
        return results

    return read_result(work.file, inputs) or store_result(work.file, inputs, measure())


def reference_mae(name: str, config: PretrainConfig) -> MaskedAutoencoder:
    """Load a trained MAE, by a name or path that `MAESource.find` takes, for runs with these settings.

    Raises:
        ValueError: If there is none, or if it was never trained, or predicts another target than the runs.
        CheckpointError: If it has another geometry.
    """
    source = MAESource.find(name, "--reference")
    if source.weights is None:
        raise ValueError(f"the reference must be a trained MAE, got {name!r}, a preset with untrained weights")
    if source.drawn:
        raise ValueError(f"the reference must be a trained MAE, got {name!r}, without {' and '.join(source.drawn)}")
    target = build_target(config.target, config.grid, source.config)
    if source.target != target.identity:
        raise ValueError(
            f"the reference must predict the runs' target, {target.identity!r}, got {name!r}, which predicts "
            f"{source.target!r}"
        )
    return build_mae(source, config.grid, seed=0, target=target)


# --- Probes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """Data and settings of the encoders' probes."""

    root: str | None = None
    """Folder of another set of the same kind to probe on; None takes the one on which the agents are trained."""
    pool: Pool = "mean"
    """How a clip's tokens become its feature; see docs/probe.md."""
    norm: FeatureNorm = "encoder"
    """encoder: after the norm that pre-training ended with. none: before it."""
    attentive: bool = False
    """Also fit V-JEPA's attentive probe to all tokens, which encodes the clips anew in each of its epochs."""
    config: ProbeConfig = field(default_factory=ProbeConfig)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The probes' methods."""
        return ("logistic", "knn", "attentive") if self.attentive else ("logistic", "knn")


def has_labels(config: PretrainConfig, plan: ProbePlan) -> bool:
    """Return whether the clips to be probed have classes.

    Raises:
        ValueError: If some have, but too few to fit and test a probe.
    """
    clips = _probed_clips(config, plan)
    train, test = (
        labels_of(ClipStream(part, frames=config.grid.frames, size=config.grid.size, seed=0).videos)
        for part in (clips, clips.held_out)
    )
    if (train.values < 0).all() and (test.values < 0).all():
        return False
    check_labels(train, test)
    if len(plan.config.logistic.strengths) > 1:  # raises before the trainings if they cannot be compared
        held_out_videos(train.values, torch.arange(len(train.values)), plan.config.logistic.held_out, seed=0)
    return True


def probe_trials(trials: Sequence[Trial], plan: ProbePlan, *, jobs: int) -> list[dict[str, float]]:
    """Probe the final encoders of runs: top-1 of each method, top-5 if there are more than five classes; and chance.

    Several machines that share the folders can do this together, see `share_out`.
    """
    for trial, _ in share_out(partial(_probe_trial, plan), trials, partial(_is_probed, plan), jobs=jobs):
        logger.info("probed %s", name_of(trial))
    results = [read_result(trial.folder / PROBES, _inputs(plan)) for trial in trials]
    return [each for each in results if each is not None]


def _inputs(plan: ProbePlan) -> dict[str, Any]:
    root = None if plan.root is None else Path(plan.root).name  # it may lie elsewhere on another machine
    values = asdict(plan)
    if not values.pop("attentive"):  # results from before there was this probe are still those of the plan
        del values["config"]["attentive"]
    return {**values, "root": root, "measures": ["top1", "top5"]}


def _is_probed(plan: ProbePlan, trial: Trial) -> bool:
    return read_result(trial.folder / PROBES, _inputs(plan)) is not None


def _probe_trial(plan: ProbePlan, trial: Trial) -> dict[str, float]:
    return store_result(trial.folder / PROBES, _inputs(plan), _probe(trial, plan))


def _probe(trial: Trial, plan: ProbePlan) -> dict[str, float]:
    config, cache = trial.config, trial.folder / "features"
    encoder = VideoEncoder(config.mae, config.grid, norm=plan.norm)
    load_encoder_weights(encoder, encoder_weights(load_checkpoint(latest_run(trial.folder))["mae"]))
    settings = FeatureConfig(
        pool=plan.pool, cache=str(cache), device=config.device, precision=config.precision, quiet=True
    )
    clips = _probed_clips(config, plan)
    train, test = (features_of(encoder, part, settings) for part in (clips, clips.held_out))
    evaluations = {method: evaluate(method, train, test, plan.config, seed=config.seed) for method in plan.methods}
    shutil.rmtree(cache)
    tops: dict[str, float] = {method: each.accuracy.top1 for method, each in evaluations.items()}
    top5 = {
        f"{method}_top5": each.accuracy.top5 for method, each in evaluations.items() if each.accuracy.top5 is not None
    }
    return {**tops, **top5, "chance": evaluations["logistic"].chance, "knn_k": evaluations["knn"].fitted["k"]}


def _probed_clips(config: PretrainConfig, plan: ProbePlan) -> ClipConfig:
    return replace(config.clips, root=plan.root or config.clips.root, repeats=1, cache_mib=0)  # videos are read once
