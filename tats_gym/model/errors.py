"""The errors of an MAE under given masks: of each mask, and of each token; and with a gradient of the masks."""

import torch
from torch import Tensor

from tats_gym.model.protocol import MaskedModel
from tats_gym.model.videomae import MaskedAutoencoder


def errors_under(mae: MaskedModel, clips: Tensor, ids_keep: Tensor, decode_ratio: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return an MAE's errors under several masks of the same clips.

    Args:
        mae: The MAE.
        clips: (B, C, T, H, W) in uint8, on the MAE's device.
        ids_keep: Visible tokens (S, B, K), S masks of each clip.
        decode_ratio: Share of the hidden tokens that is decoded.

    Returns:
        The mean errors (S, B) of the decoded tokens; and each token's mean error (B, L) over the masks that predict
        it, NaN for a token that no mask predicts.
    """
    means = []
    total, times = torch.zeros(2, len(clips), mae.grid.num_tokens, device=clips.device)  # (B, L)
    for each in ids_keep:
        reconstruction = mae(clips, each.to(clips.device), decode_ratio)
        errors = reconstruction.errors
        means.append(errors.mean(1))
        total += reconstruction.spread(errors)
        times += reconstruction.predicted
    return torch.stack(means), total / times


def expected_errors(by_token: Tensor) -> Tensor:
    """Return the mean errors (B, L) of `errors_under` with the clip's mean where no mask predicts a token."""
    return torch.where(by_token.isnan(), by_token.nanmean(1, keepdim=True), by_token)


def gated_error(mae: MaskedModel, clips: Tensor, ids_keep: Tensor, gates: Tensor) -> Tensor:
    """Return the mean error (B * G,) of the hidden tokens, with a gradient of the choice of tokens.

    A visible token is scaled by 1 plus its gate, a hidden token's error counts 1 minus its gate. Gates are 0 where only
    the gradient is wanted: a straight-through estimator adds them to a hard choice. Of an MAE of another package the
    errors are taken as they are, without a gradient of the visible tokens.

    Args:
        mae: The MAE.
        clips: (B, C, T, H, W) in uint8, on the MAE's device.
        ids_keep: Visible tokens (B * G, K), G masks for each clip, one clip's after another's.
        gates: (B * G, L).
    """
    if isinstance(mae, MaskedAutoencoder):
        found = mae(clips, ids_keep, scales=1 + gates.gather(1, ids_keep))
    else:
        with torch.no_grad():
            found = mae(clips, ids_keep)
    errors: Tensor = found.errors * (1 - gates.gather(1, found.ids_hidden))
    return errors.mean(1)
