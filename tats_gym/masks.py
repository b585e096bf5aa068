"""Masks without learning: random, tube, frame, block and motion; and conversions between the two forms of a mask."""

import math

import torch
from torch import Tensor

from tats_gym.messages import nearest_multiples
from tats_gym.motion import token_motion
from tats_gym.tokens import GridShape


def mask_from_ids(ids_keep: Tensor, num_tokens: int) -> Tensor:
    """Convert visible tokens (B, K) to the mask (B, L), True where a token is hidden from the encoder."""
    mask = torch.ones(len(ids_keep), num_tokens, dtype=torch.bool, device=ids_keep.device)
    return mask.scatter_(1, ids_keep, False)


def hidden_ids(mask: Tensor, num_hidden: int) -> Tensor:
    """List the hidden tokens (B, M) of a mask (B, L) in ascending order, without waiting for the device."""
    return mask.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :num_hidden]


def hidden_by(ids_keep: Tensor, num_tokens: int) -> Tensor:
    """List the hidden tokens (B, M) for visible ones (B, K), in ascending order."""
    return hidden_ids(mask_from_ids(ids_keep, num_tokens), num_tokens - ids_keep.shape[1])


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
    """Draw K of L tokens one after another, without replacement, with probabilities proportional to their weights.

    Args:
        weights: (B, L), not negative; tokens of weight zero are drawn when no other is left.
        num_visible: K.
        first: (B, L) True for tokens that are drawn before all others, in proportion to their weights too.
        generator: Random generator.

    Returns:
        Token ids (B, K) in draw order.
    """
    tiny = torch.finfo(torch.float32).tiny
    noise = torch.empty(weights.shape, device=weights.device).exponential_(generator=generator).clamp(min=tiny)
    order = weights.float().clamp(min=tiny).log() - noise.log()  # within 200 of zero: the exponential race's logarithm
    if first is not None:
        order = order + 1000 * first
    return order.topk(num_visible, dim=1).indices


def every_place(grid_shape: GridShape, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
    """Mark one token at every place of the frame, its time drawn uniformly for each place: (B, L) bool."""
    t, h, w = grid_shape
    chosen = torch.randint(t, (batch_size, 1, h * w), generator=generator)
    return (chosen == torch.arange(t)[:, None]).flatten(1)


def uniform_ids(
    grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Show K tokens of each clip, every subset equally likely: (B, K)."""
    return random_ids(batch_size, math.prod(grid_shape), num_visible, generator=generator)


def tube_ids(
    grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Show the same K / t places of every tubelet, drawn uniformly for each clip: (B, K).

    Source: VideoMAE's tube masking, which at a mask ratio of .9 shows 20 of 196 places in each of 8 tubelets, 160.

    Raises:
        ValueError: If K is no multiple of t, the grid's tubelets.
    """
    t, h, w = grid_shape
    _check_multiple("tube masks show the same places in each of", grid_shape, num_visible, t, "tubelets")
    places = random_ids(batch_size, h * w, num_visible // t, generator=generator)  # (B, K / t)
    return (places[:, None] + h * w * torch.arange(t)[:, None]).flatten(1)


def frame_ids(
    grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Show all tokens of K / (h * w) tubelets, drawn uniformly for each clip: (B, K).

    Raises:
        ValueError: If K is no multiple of h * w, the tokens in a tubelet.
    """
    t, h, w = grid_shape
    _check_multiple("frame masks show whole tubelets, each of", grid_shape, num_visible, h * w, "tokens")
    tubelets = random_ids(batch_size, t, num_visible // (h * w), generator=generator)
    return (h * w * tubelets[..., None] + torch.arange(h * w)).flatten(1)


def _check_multiple(rule: str, grid_shape: GridShape, num_visible: int, number: int, unit: str) -> None:
    if num_visible % number:
        num_tokens = math.prod(grid_shape)
        fitting = [k for k in nearest_multiples(num_visible, number) if k < num_tokens]
        raise ValueError(
            f"{rule} the {number} {unit}: visible must be a multiple of {number}, got {num_visible} of "
            f"{num_tokens}; the nearest are {' and '.join(map(str, fitting)) or 'none'} (--visible)"
        )


BLOCK_SIDES = (0.25, 0.75)
"""Shortest and longest side of a hidden block, as shares of the grid's side."""


def block_ids(
    grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
) -> Tensor:
    """Hide one space-time block after another until K tokens are left: (B, K).

    Each side of a block is drawn uniformly between a quarter and three quarters of the grid's, and its place so that
    every token is equally likely to be hidden by it; blocks may cross the border. Of the last block, random tokens are
    hidden until K are left. The blocks are MAE-ST's, their sides are our reading.
    """
    left = 0.1 * num_visible / math.prod(grid_shape)  # share of the tokens that all blocks together may leave
    number = min(255, math.ceil(27 * -math.log(left)))  # a block hides a 27th of the tokens or, in small grids, more
    covered = torch.ones(batch_size, number, 1, dtype=torch.bool)
    for length in grid_shape:
        covered = (covered[..., None] & _covered(length, batch_size, number, generator)[:, :, None]).flatten(2)
    order = torch.arange(number, 0, -1, dtype=torch.uint8)[:, None]
    first = (covered * order).amax(1)  # (B, L): the earlier a token is hidden the higher, 0 for never
    noise = torch.rand(first.shape, generator=generator)
    return (noise - first).topk(num_visible, dim=1).indices


def _covered(length: int, batch_size: int, number: int, generator: torch.Generator | None) -> Tensor:
    """Mark the places on a line that random intervals cover: (B, number, length) bool."""
    shortest, longest = (max(1, round(share * length)) for share in BLOCK_SIDES)
    sides = torch.randint(shortest, longest + 1, (batch_size, number, 1), generator=generator)
    start = (torch.rand(batch_size, number, 1, generator=generator) * (length + sides - 1)).long() - sides + 1
    places = torch.arange(length)
    return (places >= start) & (places < start + sides)


def most_moving_ids(
    grid_shape: GridShape, num_visible: int, clips: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Show the K tokens that differ most, by L2, from the tubelet before; uint8 clips (B, C, T, H, W) to ids (B, K).

    Ties are broken at random, as between all tokens of a still clip.
    """
    motion = token_motion(grid_shape, clips)
    noise = torch.rand(motion.shape, generator=generator).to(motion.device)
    return (motion + 1e-6 * noise).topk(num_visible, dim=1).indices
