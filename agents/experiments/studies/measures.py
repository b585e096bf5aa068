"""Measures of a study's MAEs: those from which the arms of a seed start, or those that the arms trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.studies.credit_gradient import credit_gradients
from tats_gym.agents.experiments.studies.game_coordinates import decoded_coordinates
from tats_gym.agents.experiments.studies.hand_masks import masks_by_hand, search_masks
from tats_gym.agents.experiments.studies.study import Study, run_starts
from tats_gym.agents.experiments.trials.trial import FINAL_MASKS, latest_run, object_lifts
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.agents.training.measures.evaluation import HeldOut, held_out_for
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.jobs.parallel import side_by_side
from tats_gym.model.errors import expected_errors
from tats_gym.targets.table import build_target

GRADIENT_CLIPS, GRADIENT_DRAWS = 42, 256
"""Held-out clips, and masks for each, over which the credits' gradients are averaged."""
OWN, ONE_FOR_ALL = "each clip's own mask, searched", "one mask for all, searched"
"""Names of the masks that the search finds."""

Measure = Callable[[PretrainConfig], list[dict[str, Any]]]


def measure_study(
    name: str, study: Study, folder: Path, starts: Path, seeds: Sequence[int], *, jobs: int
) -> list[dict[str, Any]]:
    """Take a measure under every MAE of a finished study, `jobs` at a time, and return all rows.

    Args:
        name: Name of the measure, see `MEASURES`.
        study: Its MAEs are those from which the arms start, or those that the arms trained from scratch. A row that
            names no arm has the arm and the seed that trained its MAE.
        folder: Holds the trials that `run_study` left.
        starts: Holds the runs that trained the start MAEs, likewise.
        seeds: Seeds of the study.
        jobs: Parallel processes; each takes its share of the cores.
    """
    configs = run_starts(study, starts, seeds, jobs=jobs)
    if study.base.init_mae is not None:
        configs = configs[:1]  # one MAE for all seeds
    arms = dict.fromkeys(configs, "start")
    if study.start is None and study.base.init_mae is None:
        arms = {
            replace(with_changes(base, changes), init_mae=str(latest_run(folder / arm / f"seed{base.seed}"))): arm
            for base in configs
            for arm, changes in study.arms.items()
        }
    rows_by_config = dict(side_by_side(MEASURES[name], arms, jobs=jobs))
    return [{"arm": arm, "seed": config.seed, **row} for config, arm in arms.items() for row in rows_by_config[config]]


def gradients(config: PretrainConfig) -> list[dict[str, Any]]:
    """Compare the credits' gradients for a uniform sampler on held-out clips: a row for each credit."""
    held_out = _held_out(replace(config, eval_clips=GRADIENT_CLIPS), num_masks=1)
    uniform = torch.zeros(len(held_out.clips), config.grid.num_tokens)
    by_credit = credit_gradients(
        held_out.mae, held_out.clips, uniform, config.grid.num_visible, draws=GRADIENT_DRAWS, seed=config.seed
    )
    return [{"arm": credit, "seed": config.seed, **asdict(gradient)} for credit, gradient in by_credit.items()]


def hand_masks(config: PretrainConfig) -> list[dict[str, Any]]:
    """Measure masks that need no sampler: a row for each kind, with its gain over uniform masks, and by content."""
    held_out = _held_out(config, num_masks=FINAL_MASKS)
    random = held_out.errors_by_token(held_out.random_ids_keep)
    error, generator = expected_errors(random[1]), torch.Generator().manual_seed(config.seed + 1)
    kinds = masks_by_hand(held_out, error, generator)
    kinds[OWN] = search_masks(held_out, error, generator, alike=False)
    kinds[ONE_FOR_ALL] = search_masks(held_out, error, generator, alike=True)
    rows = []
    for kind, ids_keep in kinds.items():
        metrics = held_out.metrics(ids_keep, held_out.errors(ids_keep), random)
        rows.append({"arm": kind, "seed": config.seed, **asdict(metrics), **object_lifts(held_out, ids_keep)})
    return rows


def decoded_in_part(config: PretrainConfig) -> list[dict[str, Any]]:
    """Measure masks made by hand with all hidden tokens decoded, and with the share decoded in the MAE's training.

    A row for each kind of mask. `agreement` is the correlation of both errors over the masks of one clip: how far the
    share preserves the differences between masks from which a sampler learns.
    """
    held_out = _held_out(config, num_masks=FINAL_MASKS)
    random_errors, by_token = held_out.errors_by_token(held_out.random_ids_keep)
    random_errors_in_part = held_out.errors(held_out.random_ids_keep, config.decode_ratio)
    kinds = masks_by_hand(held_out, expected_errors(by_token), torch.Generator().manual_seed(config.seed + 1))
    rows = []
    for kind, ids_keep in kinds.items():
        whole, part = held_out.errors(ids_keep), held_out.errors(ids_keep, config.decode_ratio)
        rows.append(
            {
                "arm": f"{config.decode_ratio:g} decoded: {kind}",
                "seed": config.seed,
                "gain": (random_errors - whole).mean().item(),
                "gain_in_part": (random_errors_in_part - part).mean().item(),
                "error_own": whole.mean().item(),
                "error_in_part": part.mean().item(),
                "agreement": _within_clips(whole, part),
            }
        )
    return rows


def _within_clips(left: Tensor, right: Tensor) -> float:
    """Return the correlation of values (S, B) over the S masks within each clip, pooled over the B clips."""
    left, right = (values - values.mean(0) for values in (left, right))
    return ((left * right).sum() / (left.square().sum() * right.square().sum()).sqrt()).item()


MEASURES: Mapping[str, Measure] = {
    "hand_masks": hand_masks,
    "gradients_at_uniform": gradients,
    "decoded_in_part": decoded_in_part,
    "decoded_positions": decoded_coordinates,
}


def _held_out(config: PretrainConfig, *, num_masks: int) -> HeldOut:
    assert config.init_mae is not None
    source = MAESource.find(config.init_mae)
    target = build_target(config.target, config.grid, source.config)
    mae = build_mae(source, config.grid, seed=config.seed, target=target)
    return held_out_for(config, mae, num_masks=num_masks)
