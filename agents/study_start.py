"""What a study measures before any arm is run, under the MAE that the arms of a seed start from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.config import PretrainConfig
from agents.credit_gradient import credit_gradients
from agents.held_out import HeldOut, held_out_for, mean_lift
from agents.study import Study, latest_run, object_lifts
from tats_gym.mae_loading import MAESource, build_mae
from tats_gym.masks import every_place, one_tubelet, weighted_ids
from tats_gym.processes import side_by_side

GRADIENT_CLIPS, GRADIENT_DRAWS = 42, 256
"""Held-out clips and masks for each over which the credits' gradients are taken."""
MASKS = 64
"""Masks made by hand of each kind, for each held-out clip."""

Measure = Callable[[PretrainConfig], list[dict[str, Any]]]


def start_rows(
    measure: Measure, study: Study, starts: Path, seeds: Sequence[int], *, jobs: int
) -> list[dict[str, Any]]:
    """Measure under each seed's MAE, `jobs` seeds side by side, and return all rows."""
    configs = [replace(study.base, seed=seed, init_mae=str(latest_run(starts / f"seed{seed}"))) for seed in seeds]
    return [row for _, rows in side_by_side(measure, configs, jobs=jobs) for row in rows]


def gradients(config: PretrainConfig) -> list[dict[str, Any]]:
    """Compare the credits' gradients for a uniform sampler on held-out clips: a row for each credit."""
    held_out = _held_out(replace(config, eval_clips=GRADIENT_CLIPS), num_masks=1)
    uniform = torch.zeros(len(held_out.clips), config.grid.num_tokens)
    found = credit_gradients(
        held_out.mae, held_out.clips, uniform, config.grid.num_visible, draws=GRADIENT_DRAWS, seed=config.seed
    )
    return [{"arm": credit, "seed": config.seed, **asdict(gradient)} for credit, gradient in found.items()]


def masks_by_hand(config: PretrainConfig) -> list[dict[str, Any]]:
    """Measure masks that nobody learned: a row for each kind, with what it gains over uniform masks.

    They tell what there is to be learned: by covering all places, and by following what moves.
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


def _by_hand(held_out: HeldOut, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw masks (S, N, K) of each kind; what moves is drawn in proportion to its motion."""
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
