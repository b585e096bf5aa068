"""Masks without an agent, and the two forms that a mask takes."""

import torch
from torch import Tensor


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
