"""Measures of a study's MAEs: those from which the arms of a seed start, or those that the arms trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.experiments.cells import latest_run, object_lifts
from tats_gym.agents.experiments.credit_gradient import credit_gradients
from tats_gym.agents.experiments.study import Study, changed, run_starts
from tats_gym.agents.training.evaluation import HeldOut, held_out_for
from tats_gym.agents.training.mask_statistics import mean_lift
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.masks import every_place, one_tubelet, weighted_ids
from tats_gym.runs.parallel_jobs import side_by_side

GRADIENT_CLIPS, GRADIENT_DRAWS = 42, 256
"""Held-out clips, and masks for each, over which the credits' gradients are averaged."""
MASKS = 64
"""Masks made by hand of each kind, for each held-out clip."""

Measure = Callable[[PretrainConfig], list[dict[str, Any]]]


def measured(
    name: str, study: Study, folder: Path, starts: Path, seeds: Sequence[int], *, jobs: int
) -> list[dict[str, Any]]:
    """Take a measure under every MAE of a finished study, `jobs` at a time, and return all rows.

    Args:
        name: Of the measure, see `MEASURES`.
        study: Its MAEs are those from which the arms start or, without a start, those that the arms trained.
        folder: Holds the cells that `run_study` left.
        starts: Holds the runs that trained the start MAEs, likewise.
        seeds: Those of the study.
        jobs: Parallel processes; each takes its share of the cores.
    """
    configs = run_starts(study, starts, seeds, jobs=jobs)
    if study.start is None:
        configs = [
            replace(changed(base, changes), init_mae=str(latest_run(folder / arm / f"seed{base.seed}")))
            for base in configs
            for arm, changes in study.arms.items()
        ]
    return [row for _, rows in side_by_side(MEASURES[name], configs, jobs=jobs) for row in rows]


def gradients(config: PretrainConfig) -> list[dict[str, Any]]:
    """Compare the credits' gradients for a uniform sampler on held-out clips: a row for each credit."""
    held_out = _held_out(replace(config, eval_clips=GRADIENT_CLIPS), num_masks=1)
    uniform = torch.zeros(len(held_out.clips), config.grid.num_tokens)
    found = credit_gradients(
        held_out.mae, held_out.clips, uniform, config.grid.num_visible, draws=GRADIENT_DRAWS, seed=config.seed
    )
    return [{"arm": credit, "seed": config.seed, **asdict(gradient)} for credit, gradient in found.items()]


def masks_by_hand(config: PretrainConfig) -> list[dict[str, Any]]:
    """Measure masks made by hand: a row for each kind, with its gain over uniform masks.

    They show how much a sampler can gain by covering all places, and by following motion.
    """
    held_out = _held_out(config, num_masks=MASKS)
    uniform = held_out.errors(held_out.random)
    rows = []
    for kind, chosen in _by_hand(held_out, torch.Generator().manual_seed(config.seed + 1)).items():
        own = held_out.errors(chosen)
        assert held_out.motion is not None
        rows.append(
            {
                "arm": kind,
                "seed": config.seed,
                "gain": (uniform - own).mean().item(),
                "error_own": own.mean().item(),
                "motion_lift": mean_lift(held_out.motion, chosen),
                **object_lifts(held_out, chosen),
            }
        )
    return rows


def decoded_in_part(config: PretrainConfig) -> list[dict[str, Any]]:
    """Measure masks made by hand with all hidden tokens decoded, and with the share decoded in the MAE's training.

    A row for each kind of mask. `agreement` is the correlation of both errors over the masks of one clip: how far the
    share preserves the differences between masks from which a sampler learns.
    """
    held_out = _held_out(config, num_masks=MASKS)
    kinds = _by_hand(held_out, torch.Generator().manual_seed(config.seed + 1))
    of_random = _both_errors(held_out, held_out.random, config.decode_ratio)
    rows = []
    for kind, chosen in kinds.items():
        whole, part = _both_errors(held_out, chosen, config.decode_ratio)
        rows.append(
            {
                "arm": f"{config.decode_ratio:g} decoded: {kind}",
                "seed": config.seed,
                "gain": (of_random[0] - whole).mean().item(),
                "gain_in_part": (of_random[1] - part).mean().item(),
                "error_own": whole.mean().item(),
                "error_in_part": part.mean().item(),
                "agreement": _within_clips(whole, part),
            }
        )
    return rows


def _both_errors(held_out: HeldOut, ids: Tensor, decode_ratio: float) -> tuple[Tensor, Tensor]:
    return held_out.errors(ids), held_out.errors(ids, decode_ratio)


def _within_clips(left: Tensor, right: Tensor) -> float:
    """Return the correlation of values (S, B) over the S masks within each clip, pooled over the B clips."""
    left, right = (values - values.mean(0) for values in (left, right))
    return ((left * right).sum() / (left.square().sum() * right.square().sum()).sqrt()).item()


MEASURES: Mapping[str, Measure] = {
    "masks_by_hand": masks_by_hand,
    "gradients_at_uniform": gradients,
    "decoded_in_part": decoded_in_part,
}


def _by_hand(held_out: HeldOut, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw masks (S, B, K) of each kind; "moving" draws tokens in proportion to their motion."""
    grid, num_clips = held_out.mae.grid, len(held_out.clips)
    assert held_out.motion is not None
    moving, alike = held_out.motion, torch.ones_like(held_out.motion)

    def draw(weights: Tensor, first: Callable[..., Tensor] | None = None) -> Tensor:
        draws = []
        for _ in range(held_out.num_masks):
            taken = None if first is None else first(grid, num_clips, generator)
            draws.append(weighted_ids(weights, held_out.num_visible, first=taken, generator=generator))
        return torch.stack(draws)

    return {
        "uniform": draw(alike),
        "moving": draw(moving),
        "one tubelet, then uniform": draw(alike, one_tubelet),
        "one tubelet, then moving": draw(moving, one_tubelet),
        "every place, then uniform": draw(alike, every_place),
        "every place, then moving": draw(moving, every_place),
    }


def _held_out(config: PretrainConfig, *, num_masks: int) -> HeldOut:
    assert config.init_mae is not None
    mae = build_mae(MAESource.find(config.init_mae), config.grid, seed=config.seed)
    return held_out_for(config, mae, num_masks=num_masks)
