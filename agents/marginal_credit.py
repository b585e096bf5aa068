"""Marginal credit of a drawn token: by how much the errors in its neighbourhood fell when it was shown. It is ours.

With h_j = 1 where token j is hidden, the error of a mask is

    sum_j h_j e_j = sum_j V_j - sum over shown i of V_i - sum_j h_j (V_j - e_j)

for any V_j, the error that token j is expected to have when hidden. So showing a token does two things: its own V
leaves the sum, and the errors of others change. The draws are one after another, and a draw can change only its own
term, those of later draws, and those of hidden tokens. The credit of draw k is the sum of these over a neighbourhood
N of the token drawn:

    1 / M * sum over j in N(i_k), not drawn before k, of (V_j - h_j e_j)

With the whole clip as neighbourhood its expected policy gradient is the exact gradient of the reward `neg_error`. A
smaller one leaves out the part of tokens far away: a little signal, and nearly all of the noise.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from tats_gym.messages import check_choice
from tats_gym.tokens import GridShape

Reach = Literal["token", "place", "neighbours", "clip"]


def neighbourhood(grid_shape: GridShape, reach: Reach, far_weight: float) -> Tensor:
    """Return the weight (L, L) with which the error of token j counts in the credit of token i, in row i.

    Args:
        grid_shape: (t, h, w).
        reach: Neighbours of a token, with weight 1. "token": itself alone. "place": the same place at all times.
            "neighbours": the places beside it too, diagonally as well. "clip": all tokens.
        far_weight: Weight of the other tokens, in [0, 1].

    Raises:
        ValueError: If the reach is unknown, or `far_weight` lies outside [0, 1].
    """
    check_choice("reach", reach, get_args(Reach))
    if not 0 <= far_weight <= 1:
        raise ValueError(f"far_weight must lie in [0, 1], got {far_weight}")
    t, h, w = grid_shape
    y, x = torch.arange(h).repeat_interleave(w).repeat(t), torch.arange(w).repeat(t * h)  # (L,)
    distance = torch.maximum((y[:, None] - y).abs(), (x[:, None] - x).abs())  # (L, L), in tokens
    near = {
        "token": torch.eye(t * h * w, dtype=torch.bool),
        "place": distance == 0,
        "neighbours": distance <= 1,
        "clip": distance >= 0,
    }[reach]
    return torch.where(near, 1.0, far_weight)


def mean_by_token(total: Tensor, times: Tensor) -> Tensor:
    """Return each token's mean (..., L) over the masks that predict it; the clip's mean for tokens never predicted.

    Args:
        total: (..., L), the token's sum over these masks.
        times: (..., L), the number of these masks.
    """
    clip_mean = total.sum(-1, keepdim=True) / times.sum(-1, keepdim=True)
    return torch.where(times > 0, total / times, clip_mean)


def marginal_credit(ids_keep: Tensor, errors: Tensor, predicted: Tensor, expected: Tensor, weights: Tensor) -> Tensor:
    """Return the credit (B, K) of each draw.

    Args:
        ids_keep: (B, K) visible tokens in draw order.
        errors: (B, L) of the hidden tokens that the MAE predicted, zero elsewhere.
        predicted: (B, L) bool, True for these. Where only some hidden tokens are predicted, they stand for all.
        expected: (B, L), V.
        weights: (L, L), see `neighbourhood`.
    """
    num_hidden = errors.shape[1] - ids_keep.shape[1]
    share = predicted.sum(1, keepdim=True) / num_hidden  # (B, 1)
    drawn = expected.gather(1, ids_keep)  # (B, K)
    reductions = ((expected - errors) * predicted / share).scatter(
        1, ids_keep, drawn
    )  # (B, L), of hidden and of drawn ones
    near = (reductions @ weights.T).gather(1, ids_keep)  # (B, K), over all tokens, those drawn before too
    between = weights[ids_keep[:, :, None], ids_keep[:, None, :]].tril(-1)  # (B, K, K), of draw k and those before it
    return (near - (between @ drawn[..., None]).squeeze(-1)) / num_hidden


def marginal_advantage(
    ids_keep: Tensor, errors: Tensor, predicted: Tensor, expected: Tensor, weights: Tensor
) -> Tensor:
    """Return the advantage (B, K) of each draw: its credit minus V / M of the clip's average token.

    So a draw does better than average by showing a token of more error than others, or by lowering the errors near it.
    This baseline is the same for all draws of a mask, and so leaves the expected gradient as it is. Arguments are
    those of `marginal_credit`.
    """
    num_hidden = errors.shape[1] - ids_keep.shape[1]
    return marginal_credit(ids_keep, errors, predicted, expected, weights) - expected.mean(1, keepdim=True) / num_hidden
