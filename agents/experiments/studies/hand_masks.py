"""Masks that need no sampler: made by hand from motion and an MAE's errors, and found by a local search.

They measure the gain of masks under an MAE: by covering all places, by following motion or errors, and, by a search,
a lower bound on that of the best masks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tats_gym.agents.training.measures.evaluation import HeldOut
from tats_gym.masks import every_place, weighted_ids

ROUNDS = 200
"""Swaps that the search tries for each mask; each costs a forward."""
LARGEST_SWAP = 0.25
"""Share of the visible tokens that the first rounds swap; the last ones swap a single token."""


def masks_by_hand(held_out: HeldOut, error: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw visible tokens (S, B, K) of each kind, tokens in proportion to a weight.

    Args:
        held_out: The clips, and the MAE.
        error: e (B, L), see `expected_errors`; p ~ e is the fixed point of AdaMAE's objective.
        generator: Source of the draws.
    """
    assert held_out.motion is not None
    alike = torch.ones_like(error)

    def draw(weights: Tensor, first: Callable[..., Tensor] | None = None) -> Tensor:
        draws = []
        for _ in range(held_out.num_masks):
            taken = None if first is None else first(held_out.mae.grid.shape, len(weights), generator)
            draws.append(weighted_ids(weights, held_out.num_visible, first=taken, generator=generator))
        return torch.stack(draws)

    return {
        "uniform": draw(alike),
        "every place, then uniform": draw(alike, every_place),
        "p ~ motion": draw(held_out.motion),
        "p ~ e": draw(error),
        "p ~ e + mean e": draw(error + error.mean(1, keepdim=True)),
        "p ~ sqrt e": draw(error.sqrt()),
        "p ~ e of the place and time": draw(error.mean(0).expand_as(error)),
    }


def search_masks(
    held_out: HeldOut, error: Tensor, generator: torch.Generator, *, alike: bool, rounds: int = ROUNDS
) -> Tensor:
    """Search a mask of low error for each clip, or with `alike` one for all: (1, B, K).

    A local search: each round takes some tokens out, draws hidden ones in proportion to their errors instead, and
    keeps the new mask where its error is lower. A bound from below on the gain of the best masks.
    """
    weights = error.sqrt()  # (B, L)
    ids_keep = weighted_ids(
        weights.mean(0, keepdim=True) if alike else weights, held_out.num_visible, generator=generator
    )
    lowest, by_token = _errors(held_out, ids_keep, alike=alike)  # (B,), (B, L), or of one mask
    for number in range(rounds):
        count = max(1, round(LARGEST_SWAP * held_out.num_visible * (1 - number / rounds)))
        order = torch.rand(ids_keep.shape, generator=generator).argsort(1)
        kept = ids_keep.gather(1, order)[:, count:]
        hidden = torch.where(by_token.isnan(), 0.0, by_token)  # visible tokens have NaN
        new = weighted_ids(hidden, count, generator=generator)
        tried = torch.cat((kept, new), dim=1)
        new_errors, new_by_token = _errors(held_out, tried, alike=alike)
        lower = new_errors < lowest
        lowest = torch.where(lower, new_errors, lowest)
        ids_keep, by_token = (
            torch.where(lower[:, None], after, before)
            for after, before in ((tried, ids_keep), (new_by_token, by_token))
        )
    return ids_keep.expand(len(held_out.ids), -1)[None]


def _errors(held_out: HeldOut, ids_keep: Tensor, *, alike: bool) -> tuple[Tensor, Tensor]:
    """Return the mean error (B,) and the errors (B, L) with visible tokens (B, K); of one mask, means over clips."""
    errors, by_token = held_out.errors_by_token(ids_keep.expand(len(held_out.ids), -1)[None])
    return (errors.mean(1), by_token.mean(0, keepdim=True)) if alike else (errors[0], by_token)
