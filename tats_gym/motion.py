"""Measures how much each token of a clip changes over time, and how far a mask prefers such tokens."""

import torch
from einops import rearrange
from torch import Tensor

from tats_gym.tokens import GridShape


def token_motion(grid_shape: GridShape, clips: Tensor) -> Tensor:
    """Measure how much each token differs from the one at its place a tubelet earlier.

    Args:
        grid_shape: (t, h, w) of the tokens; at least two tubelets.
        clips: Pixels (B, C, T, H, W), uint8.

    Returns:
        Root mean square differences (B, L) of pixels in [0, 1], float32. The first tubelet has none before it: it is
        compared with the second, so both have the same values.

    Raises:
        ValueError: If the clips are one tubelet long, or do not divide into such tokens.
        TypeError: If the clips are not uint8.
    """
    if clips.dtype != torch.uint8:
        raise TypeError(f"clips must be uint8, got {clips.dtype}")
    t, h, w = grid_shape
    if t < 2:
        raise ValueError(
            f"motion needs at least two tubelets, got tokens of the shape {grid_shape}; "
            "choose a longer clip, or a smaller tubelet_size"
        )
    if any(length % number for length, number in zip(clips.shape[2:], grid_shape, strict=True)):
        raise ValueError(f"clips must divide into tokens of the shape {grid_shape}, got clips {tuple(clips.shape)}")
    tokens = rearrange(clips, "b c (t p) (h q) (w r) -> b t (h w) (c p q r)", t=t, h=h, w=w)
    change = (tokens[:, 1:].float() - tokens[:, :-1]) / 255  # (B, t - 1, h * w, P)
    motion = change.square().mean(-1).sqrt()  # (B, t - 1, h * w)
    return torch.cat([motion[:, :1], motion], dim=1).flatten(1)  # (B, L)


def lift(values: Tensor, ids_keep: Tensor) -> Tensor:
    """Divide the mean of `values` over the chosen tokens by their mean over all tokens of the clip.

    Args:
        values: One per token (B, L), not negative.
        ids_keep: The chosen tokens (B, K).

    Returns:
        Ratios (B,): 1 is the average of uniform masks, 0 means that all chosen values are zero. NaN where the clip's
        mean is zero, since all choices are then equal.
    """
    return values.gather(1, ids_keep).mean(1) / values.mean(1)
