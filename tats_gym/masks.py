"""Masks without an agent, and the two forms that a mask takes."""

import torch
from torch import Tensor

from tats_gym.tokens import TokenGrid


def mask_from_ids(ids_keep: Tensor, num_tokens: int) -> Tensor:
    """Turn visible tokens (B, K) into the mask (B, L), True where a token is hidden from the encoder."""
    mask = torch.ones(len(ids_keep), num_tokens, dtype=torch.bool, device=ids_keep.device)
    return mask.scatter_(1, ids_keep, False)


def hidden_ids(mask: Tensor, num_hidden: int) -> Tensor:
    """List the hidden tokens (B, M) of a mask (B, L) in ascending order, without waiting for the device."""
    return mask.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :num_hidden]


def random_ids(
    batch_size: int,
    num_tokens: int,
    num_visible: int,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw K of L tokens uniformly for each clip: (B, K), every subset equally likely."""
    noise = torch.rand(batch_size, num_tokens, device=device, generator=generator)
    return noise.topk(num_visible, dim=1).indices


def weighted_ids(
    weights: Tensor, num_visible: int, *, first: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Draw K of L tokens one after another, each in proportion to its weight among those left.

    Args:
        weights: (B, L), not negative; tokens of weight zero are taken when no other is left.
        num_visible: K.
        first: (B, L) True for tokens that are taken before all others, in proportion to their weights too.
        generator: Of the draws.

    Returns:
        Token ids (B, K) in draw order.
    """
    tiny = torch.finfo(torch.float32).tiny
    noise = torch.empty(weights.shape, device=weights.device).exponential_(generator=generator).clamp(min=tiny)
    order = weights.float().clamp(min=tiny).log() - noise.log()  # within 200 of zero: the exponential race's logarithm
    if first is not None:
        order = order + 1000 * first
    return order.topk(num_visible, dim=1).indices


def one_tubelet(grid: TokenGrid, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Mark all tokens of one tubelet of each clip, chosen uniformly: (B, L) bool."""
    t, h, w = grid.shape
    chosen = torch.randint(t, (batch_size, 1), generator=generator)
    return (chosen == torch.arange(t)).repeat_interleave(h * w, dim=1)


def every_place(grid: TokenGrid, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Mark one token of every place of the frame, each at a time of its own, chosen uniformly: (B, L) bool."""
    t, h, w = grid.shape
    chosen = torch.randint(t, (batch_size, 1, h * w), generator=generator)
    return (chosen == torch.arange(t)[:, None]).flatten(1)
