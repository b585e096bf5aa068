"""Statistics of many masks: of their tokens, of the motion that they show, and of the errors under them."""

import math

import torch
from torch import Tensor

from tats_gym.motion import lift


def overlap(ids_keep: Tensor, num_tokens: int) -> float:
    """Return the share of the K tokens that two clips' masks, ids_keep (S, B, K), have in common, over all pairs."""
    draws, clips, num_visible = ids_keep.shape
    if clips < 2:
        return math.nan
    visible = torch.zeros(clips, num_tokens)  # share of a clip's masks in which a token is visible
    visible.scatter_add_(1, ids_keep.transpose(0, 1).flatten(1), torch.full((clips, draws * num_visible), 1 / draws))
    every, same = visible.sum(0).square().sum(), visible.square().sum()
    return ((every - same) / (clips * (clips - 1) * num_visible)).item()


def std_within(errors: Tensor) -> float:
    """Return the standard deviation of errors (B, L) over the tokens of a clip, without NaN; the mean over clips."""
    deviations = [clip[~clip.isnan()].std() for clip in errors]
    return torch.stack(deviations).mean().item()


def visible_share(ids_keep: Tensor, num_tokens: int) -> Tensor:
    """Return the share (L,) of all masks, ids_keep (S, B, K), in which each token is visible."""
    return torch.bincount(ids_keep.flatten(), minlength=num_tokens) / ids_keep.shape[:2].numel()


def mean_lift(values: Tensor, ids_keep: Tensor) -> float:
    """Return the mean `lift` of values (B, L) at the chosen tokens (S, B, K), over clips and draws."""
    return torch.stack([lift(values, draw) for draw in ids_keep]).nanmean().item()
