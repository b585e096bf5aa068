"""The errors of an MAE under given masks: of each mask, and of each token."""

import torch
from torch import Tensor

from tats_gym.model.protocol import MaskedModel


def errors_under(mae: MaskedModel, clips: Tensor, ids: Tensor, decode_ratio: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return an MAE's errors under several masks of the same clips.

    Args:
        mae: The MAE.
        clips: (B, C, T, H, W) in uint8, on the MAE's device.
        ids: Visible tokens (S, B, K), S masks of each clip.
        decode_ratio: Share of the hidden tokens that is decoded.

    Returns:
        The mean errors (S, B) of the decoded tokens; and each token's mean error (B, L) over the masks that predict
        it, NaN for a token that no mask predicts.
    """
    means = []
    total, times = torch.zeros(2, len(clips), mae.grid.num_tokens, device=clips.device)  # (B, L)
    for each in ids:
        reconstruction = mae(clips, each.to(clips.device), decode_ratio)
        errors = reconstruction.errors
        means.append(errors.mean(1))
        total += reconstruction.spread(errors)
        times += reconstruction.predicted
    return torch.stack(means), total / times


def expected_errors(by_token: Tensor) -> Tensor:
    """Return the mean errors (B, L) of `errors_under` with the clip's mean where no mask predicts a token."""
    return torch.where(by_token.isnan(), by_token.nanmean(1, keepdim=True), by_token)
