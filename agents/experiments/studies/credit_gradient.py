"""Gradients of each credit with respect to a sampler's logits, compared with the steepest descent of the error.

The credits:

- "token": hidden token i has the advantage e_i - V and the plain categorical's log-probability; V is the clip's
  mean hidden error.
- "token, no baseline": the same with V = 0.
- "mask, neg_error": the reward of a mask is minus its mean hidden error; the value is one for all clips, as an
  untrained value network's; the log-probability is the mean over the K draws.
- "mask, neg_error, value per clip": the same with the clip's own mean reward as value, as a perfect network's.
- "mask, gain": the reward is by how much the error is lower than under a uniform mask; one value for all clips.
- "mask, error": "mask, neg_error" with the opposite sign.
- "marginal, REACH" for each reach of `tats_gym.agents.marginal_credit`: V is the mean of a token's errors over the
  draws that hide it; the log-probability is each draw's.
"""

from dataclasses import dataclass
from typing import NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from tats_gym.agents.marginal_credit import Reach, marginal_advantage, mean_by_token, neighbourhood
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.masks import random_ids
from tats_gym.model.protocol import MaskedModel
from tats_gym.tokens import GridShape

STEEPEST = "mask, neg_error, value per clip"
"""The credit whose mean gradient is 1 / K of the steepest descent of the expected error, with the least noise."""


@dataclass(frozen=True)
class CreditGradient:
    """How one credit's gradient with respect to the logits compares with the steepest descent of the error.

    The error is the expected mean hidden error under the sampler's own masks. Credit and descent are compared
    across disjoint halves of the draws, so that noise shared within a half does not look like agreement.
    """

    cosine: float
    """Cosine between the credit's mean ascent direction and the steepest descent, over all clips and tokens at once.

    Noise shrinks it by sqrt(n s^2 / (1 + n s^2)) for each of the two, with n = draws / 2 and s the
    `signal_to_noise` of this credit and of `STEEPEST`.
    """
    slope: float
    """First-order change of the error when each clip's logits take a step of norm 1 along the credit's mean ascent
    direction, averaged over clips; below zero, the credit lowers the error. Noise shrinks it by about the credit's own
    factor in `cosine`."""
    signal_to_noise: float
    """Norm of the mean gradient, corrected for the noise in it, over the root of the total variance of one draw's
    gradient; both squared and averaged over clips before they are divided."""
    draws: int
    """Masks drawn for each clip."""


class _Drawn(NamedTuple):
    """S masks for each of the B clips, and the errors under them."""

    ids_keep: Tensor
    """(S, B, K) visible tokens in draw order."""
    mask: Tensor
    """(S, B, L) True where a token was hidden."""
    errors: Tensor
    """(S, B, L) error of every token; zero where visible."""
    random_error: Tensor
    """(S, B) mean hidden error under an independent uniform mask of the same clip."""


class _Moments(NamedTuple):
    """Mean and noise of one credit's gradient over draws."""

    mean: Tensor
    """(B, L)."""
    variance: Tensor
    """(B,) of a single draw, summed over tokens."""


def credit_gradients(
    mae: MaskedModel,
    clips: Tensor,
    logits: Tensor,
    num_visible: int,
    *,
    draws: int,
    seed: int,
    batch_size: int = 64,
) -> dict[str, CreditGradient]:
    """Compare the credits' gradients with respect to the logits, at a ratio of 1, on the same draws.

    The baseline of a draw is the mean reward of the other draws in its half, so that no gradient is biased.
    Holds a few times draws * B * L numbers in memory.

    Args:
        mae: The frozen MAE, on the device of clips and logits.
        clips: (B, C, T, H, W) in uint8.
        logits: (B, L) of the sampler; zeros for a uniform one.
        num_visible: K.
        draws: Masks for each clip, even and at least 4. The MAE reconstructs 2 * draws * B clips.
        seed: Seed of all masks; the global generators are left as they were.
        batch_size: Clips in one forward pass.

    Returns:
        One comparison for each credit, by the names at the head of this file.

    Raises:
        ValueError: If `draws` is odd or below 4, or if `logits` have another shape.
    """
    _check(draws, logits, (len(clips), mae.grid.num_tokens))
    gpus = [logits.device] if logits.is_cuda else []
    halves = []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        for _ in range(2):
            each = logits.detach().expand(draws // 2, -1, -1)  # (S, B, L)
            halves.append(_moments(each, _draw(mae, clips, each, num_visible, batch_size), mae.grid.shape))
    return {name: _compare(name, halves, num_visible, draws) for name in halves[0]}


def _check(draws: int, logits: Tensor, shape: tuple[int, int]) -> None:
    if draws < 4 or draws % 2:
        raise ValueError(f"draws must be even and at least 4, to be halved, got {draws}")
    if logits.shape != shape:
        raise ValueError(f"logits must be (B, L) = {shape} for these clips, got {tuple(logits.shape)}")


def _draw(mae: MaskedModel, clips: Tensor, logits: Tensor, num_visible: int, batch_size: int) -> _Drawn:
    """Draw a mask for each row of logits (S, B, L), and a uniform one, and reconstruct the clips under both."""
    shape, num_tokens = logits.shape[:2], logits.shape[2]
    ids_keep = PlackettLuce(logits, num_visible).sample().flatten(0, 1)  # (S * B, K)
    uniform = random_ids(len(ids_keep), num_tokens, num_visible, device=logits.device)
    masks, errors, random = [], [], []
    with torch.no_grad():
        for rows in torch.arange(len(ids_keep), device=logits.device).split(batch_size):
            pixels = clips[rows % len(clips)]
            reconstruction = mae(pixels, ids_keep[rows])
            masks.append(reconstruction.mask)
            errors.append(reconstruction.spread(reconstruction.errors))
            random.append(mae(pixels, uniform[rows]).errors.mean(1))
    return _Drawn(*(torch.cat(rows).unflatten(0, shape) for rows in ([ids_keep], masks, errors, random)))


def _moments(logits: Tensor, drawn: _Drawn, grid_shape: GridShape) -> dict[str, _Moments]:
    """Differentiate each credit's objective with respect to logits (S, B, L), draw by draw."""
    with torch.enable_grad():
        logits = logits.clone().requires_grad_()
        distribution = PlackettLuce(logits, drawn.ids_keep.shape[2])
        objectives = _objectives(distribution, drawn) | _marginal_objectives(distribution, drawn, grid_shape)
        moments = {}
        for name, objective in objectives.items():
            (gradient,) = torch.autograd.grad(objective.sum(), logits, retain_graph=True)  # (S, B, L)
            # It sums to zero over tokens: a log-probability stays the same when all logits of a clip move together.
            moments[name] = _Moments(gradient.mean(0), gradient.var(0).sum(1))
    return moments


def _objectives(distribution: PlackettLuce, drawn: _Drawn) -> dict[str, Tensor]:
    """Return each credit's objective (S, B) by name: advantage times log-probability."""
    num_hidden = drawn.mask.shape[2] - drawn.ids_keep.shape[2]
    error = drawn.errors.sum(2) / num_hidden  # (S, B)
    gain = drawn.random_error - error
    clip_mean, overall_mean = _mean_of_others(error, 0), _mean_of_others(error, 0, 1)
    gain_mean = _mean_of_others(gain, 0, 1)
    token = distribution.token_log_prob * drawn.mask / num_hidden  # (S, B, L)
    clip = distribution.log_prob(drawn.ids_keep).mean(2)  # (S, B)
    return {
        "token": ((drawn.errors - clip_mean[..., None]) * token).sum(2),
        "token, no baseline": (drawn.errors * token).sum(2),
        "mask, neg_error": (overall_mean - error) * clip,
        STEEPEST: (clip_mean - error) * clip,
        "mask, gain": (gain - gain_mean) * clip,
        "mask, error": (error - overall_mean) * clip,
    }


def _marginal_objectives(distribution: PlackettLuce, drawn: _Drawn, grid_shape: GridShape) -> dict[str, Tensor]:
    """Return the objective (S, B) of marginal credit for each reach, by name."""
    total, times = (each.sum(0) - each for each in (drawn.errors, drawn.mask.float()))  # (S, B, L), of other draws
    expected = mean_by_token(total, times).flatten(0, 1)  # (S * B, L)
    ids_keep, errors, mask = (each.flatten(0, 1) for each in (drawn.ids_keep, drawn.errors, drawn.mask))
    log_prob = distribution.log_prob(drawn.ids_keep)  # (S, B, K)
    objectives = {}
    for reach in get_args(Reach):
        weights = neighbourhood(grid_shape, reach, far_weight=0.0).to(ids_keep.device)
        advantage = marginal_advantage(ids_keep, errors, mask, expected, weights).view_as(log_prob)
        objectives[f"marginal, {reach}"] = (advantage * log_prob).mean(2)
    return objectives


def _mean_of_others(values: Tensor, *dims: int) -> Tensor:
    """Return for each of the values the mean over `dims` of all but itself."""
    total = values.sum(dims, keepdim=True)
    return (total - values) / (values.numel() // total.numel() - 1)


def _compare(name: str, halves: list[dict[str, _Moments]], num_visible: int, draws: int) -> CreditGradient:
    credits, cosines, slopes = [half[name] for half in halves], [], []
    for credit, other in zip(credits, reversed(halves), strict=True):
        # The joint log-probability is the sum over the K draws, not their mean.
        descent = num_visible * other[STEEPEST].mean  # (B, L)
        cosines.append(F.cosine_similarity(credit.mean.flatten(), descent.flatten(), dim=0))
        slopes.append(-(F.normalize(credit.mean, dim=1) * descent).sum(1).mean())
    mean = torch.stack([credit.mean for credit in credits]).mean(0)  # (B, L)
    variance = torch.stack([credit.variance for credit in credits]).mean(0).mean()
    signal = (mean.square().sum(1).mean() - variance / draws).clamp(min=0)
    return CreditGradient(
        cosine=torch.stack(cosines).mean().item(),
        slope=torch.stack(slopes).mean().item(),
        signal_to_noise=(signal / variance).sqrt().item(),
        draws=draws,
    )
