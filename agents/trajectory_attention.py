"""Trajectory attention, exact but folded: without an L x L softmax or a projection of every trajectory token."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

BLOCK_BYTES = {"cpu": 2**23, "cuda": 2**30}
"""Size of one intermediate tensor of the attention along trajectories. On CPUs the allocator returns larger ones to the
system each time, which takes longer than computing them."""


class TrajectoryAttention(nn.Module):
    """Attends within every frame, then along the resulting trajectory through time.

    For query token i and each frame f, a softmax over that frame's tokens gives the trajectory token y[i, f]. A second
    attention runs over the t trajectory tokens of i, queried by the one of i's own frame. Source: Motionformer (Patrick
    et al. 2021), section 3.1, with values projected in the second attention too.

    The second attention never projects the t * L trajectory tokens: q . (W_k y) = (W_k^T q) . y and
    sum_f a_f (W_v y_f) = W_v (sum_f a_f y_f), so its projections cost as much as those of L tokens. The bias of the
    second keys adds the same to every score of a softmax and is left out.

    Args:
        width: D.
        num_heads: N; must divide width.
        num_frames: t, the grid's length along time; L = t * s, ordered frame by frame.
        stream_above: With more frames than this, queries go frame by frame and intermediate tensors are computed again
            in the backward pass, a quarter more work: memory then grows with L instead of L * t. Not under
            `SDPBackend.MATH`, since second derivatives need all of them.
        pool: Whether the queries are the means of each frame's tokens, t in all: a summary of the clip at an eighth of
            the operations.

    Raises:
        ValueError: If N does not divide width.
    """

    def __init__(
        self, width: int, num_heads: int, num_frames: int, stream_above: int = 8, *, pool: bool = False
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads must divide width, got {num_heads} and {width}")
        self.num_heads, self.num_frames, self.pool = num_heads, num_frames, pool
        self.streams = num_frames > stream_above
        self.qkv = nn.Linear(width, 3 * width)
        self.trajectory_q = nn.Linear(width, width)
        self.trajectory_k = nn.Linear(width, width, bias=False)
        self.trajectory_v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, norm: nn.LayerNorm | None = None) -> Tensor:
        """Map tokens (B, L, D), after `norm` if given, to (B, L, D), or with `pool` to (B, t, D).

        The norm's weight and bias are folded into the projection, so that tokens without a gradient stay without one.
        """
        weight: Tensor = self.qkv.weight
        bias: Tensor = self.qkv.bias
        if norm is not None:
            x = F.layer_norm(x, norm.normalized_shape, eps=norm.eps)
            weight, bias = weight * norm.weight, bias + weight @ norm.bias
        width = x.shape[-1]
        if self.pool:
            q = F.linear(frame_means(x, self.num_frames), weight[:width], bias[:width])
            kv = F.linear(x, weight[width:], bias[width:])
        else:
            q, kv = F.linear(x, weight, bias).split((width, 2 * width), dim=-1)
        q = rearrange(q, "b l (n e) -> b n l e", n=self.num_heads)
        k, v = rearrange(kv, "b l (two n e) -> two b n l e", two=2, n=self.num_heads)
        if not self.streams or _only_math():
            mixed = self._attend(q, k, v, 0)
        else:
            parts = [
                checkpoint(self._attend, part, k, v, frame, use_reentrant=False)
                for frame, part in enumerate(q.chunk(self.num_frames, dim=2))
            ]
            mixed = torch.cat(parts, dim=1)
        projected: Tensor = self.proj(mixed)
        return projected

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, first: int) -> Tensor:
        """Attend from the queries (B, N, m * s, e) of m frames, from frame `first`: (B, m * s, D)."""
        frames = zip(k.chunk(self.num_frames, dim=2), v.chunk(self.num_frames, dim=2), strict=True)
        # Attention lays its output out as (B, m * s, N, e) in memory, so that these are views, stored once.
        trajectories = [
            F.scaled_dot_product_attention(q, k_frame, v_frame).transpose(1, 2).flatten(2).flatten(0, 1)
            for k_frame, v_frame in frames
        ]  # t of (B * m * s, D)
        num_queries = q.shape[2]
        queries_a_frame = 1 if self.pool else k.shape[2] // self.num_frames
        own_frame = first + torch.arange(num_queries, device=q.device) // queries_a_frame
        layers = (self.trajectory_q.weight, self.trajectory_q.bias, self.trajectory_k.weight, self.trajectory_v.weight)
        values = _AlongTime.apply(self.num_heads, own_frame.repeat(len(q)), *layers, *trajectories)
        mixed: Tensor = values.unflatten(0, (-1, num_queries)) + self.trajectory_v.bias
        return mixed


def _only_math() -> bool:
    """Return whether `sdpa_kernel` allows only the math kernel, the one with second derivatives."""
    allowed = torch.backends.cuda
    return not (allowed.flash_sdp_enabled() or allowed.mem_efficient_sdp_enabled() or allowed.cudnn_sdp_enabled())


class _AlongTime(torch.autograd.Function):
    """The attention along trajectories, in blocks of tokens; saves only its inputs for the backward pass.

    forward(N, own frame of each token (n,), weights and bias of the layers, t tensors of trajectory tokens (n, D)) ->
    (n, D). Tensors t or N times as wide as a token exist for one block at a time.
    """

    @staticmethod
    def forward(
        ctx: Any,
        num_heads: int,
        own_frame: Tensor,
        query: Tensor,
        query_bias: Tensor,
        key: Tensor,
        value: Tensor,
        *y: Tensor,
    ) -> Tensor:
        ctx.num_heads = num_heads
        ctx.save_for_backward(own_frame, query, query_bias, key, value, *y)
        values = torch.empty_like(y[0], memory_format=torch.contiguous_format)
        with torch.autocast(own_frame.device.type, enabled=False):
            layers = _layers(values.dtype, num_heads, query, query_bias, key, value)
            for rows in _blocks(num_heads, values):
                values[rows] = _Block(_stacked(y, rows), own_frame[rows], *layers).values()
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        own_frame, query, query_bias, key, value, *y = ctx.saved_tensors
        weights = query, query_bias, key, value
        layers = _layers(y[0].dtype, ctx.num_heads, *weights)
        grads_y = [torch.empty_like(each, memory_format=torch.contiguous_format) for each in y]
        totals = [torch.zeros_like(each) for each in layers]
        for rows in _blocks(ctx.num_heads, grad):
            d_y, *grads = _Block(_stacked(y, rows), own_frame[rows], *layers).backward(grad[rows])
            for kept, d_frame in zip(grads_y, d_y.unbind(1), strict=True):
                kept[rows] = d_frame
            for total, each in zip(totals, grads, strict=True):
                total += each
        shaped = [total.reshape(weight.shape).to(weight.dtype) for total, weight in zip(totals, weights, strict=True)]
        return None, None, *shaped, *grads_y


class _Block:
    """The attention along trajectories for a block of n tokens, from y (n, t, D) and the frame `own` (n,) of each."""

    def __init__(self, y: Tensor, own_frame: Tensor, query: Tensor, bias: Tensor, key: Tensor, value: Tensor) -> None:
        self.y, self.query, self.key, self.value = y, query, key, value
        self.rows = torch.arange(len(y), device=y.device), own_frame
        self.scale = key.shape[1] ** -0.5
        self.own_y = y[self.rows]  # (n, D)
        self.q = F.linear(self.own_y, query, bias).unflatten(1, key.shape[:2]).transpose(0, 1) * self.scale
        self.folded = torch.bmm(self.q, key)  # (N, n, D)
        scores = self.folded.transpose(0, 1) @ y.transpose(1, 2)  # (n, N, t)
        self.attention = scores.softmax(-1, dtype=torch.promote_types(y.dtype, torch.float32)).to(y.dtype)
        self.gathered = (self.attention @ y).transpose(0, 1)  # (N, n, D)

    def values(self) -> Tensor:
        """Return the attended values (n, D)."""
        return torch.bmm(self.gathered, self.value.transpose(1, 2)).transpose(0, 1).flatten(1)

    def backward(self, d_values: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of y and of the layers, given the gradient (n, D) of `values`; d_x is that of x."""
        y, attention = self.y, self.attention
        d_values = d_values.unflatten(1, self.value.shape[:2]).transpose(0, 1)  # (N, n, D / N)
        d_gathered = torch.bmm(d_values, self.value).transpose(0, 1)  # (n, N, D)
        d_attention = d_gathered @ y.transpose(1, 2)  # (n, N, t)
        d_scores = attention * (d_attention - (d_attention * attention).sum(-1, keepdim=True))
        d_folded = (d_scores @ y).transpose(0, 1)  # (N, n, D)
        d_q = torch.bmm(d_folded, self.key.transpose(1, 2)).transpose(0, 1).flatten(1) * self.scale  # (n, D)
        d_y = attention.transpose(1, 2) @ d_gathered + d_scores.transpose(1, 2) @ self.folded.transpose(0, 1)
        d_y.index_put_(self.rows, d_y[self.rows] + d_q @ self.query)
        d_key, d_value = self.q.transpose(1, 2) @ d_folded, d_values.transpose(1, 2) @ self.gathered
        return d_y, d_q.t() @ self.own_y, d_q.sum(0), d_key, d_value


def _layers(dtype: torch.dtype, num_heads: int, *weights: Tensor) -> tuple[Tensor, ...]:
    """Return query (D, D) and its bias (D,), then keys and values by head (N, D / N, D), as tensors of `dtype`."""
    query, bias, key, value = (weight.to(dtype) for weight in weights)
    return query, bias, key.unflatten(0, (num_heads, -1)), value.unflatten(0, (num_heads, -1))


def _blocks(num_heads: int, tokens: Tensor) -> Iterator[slice]:
    """Split the rows of tokens (n, D) into blocks whose tensors of N * D values a row fit in BLOCK_BYTES."""
    size = max(1, BLOCK_BYTES[tokens.device.type] // (num_heads * tokens.shape[1] * tokens.element_size()))
    return (slice(first, first + size) for first in range(0, len(tokens), size))


def _stacked(y: Sequence[Tensor], rows: slice) -> Tensor:
    """Return the trajectories (n, t, D) of the tokens in `rows`."""
    return torch.stack([each[rows] for each in y], 1)


def frame_means(x: Tensor, num_frames: int) -> Tensor:
    """Return the mean (B, t, D) of each frame's tokens (B, L, D)."""
    means: Tensor = x.unflatten(1, (num_frames, -1)).mean(2)
    return means


class TrajectoryBlock(nn.Module):
    """Trajectory attention with a norm and a residual, then an MLP if `mlp_ratio` is above 0.

    Norm, residual and MLP are not in the paper but our reading. With `pool`, the residual is the mean of each frame's
    tokens, and one token for each frame remains.
    """

    def __init__(self, width: int, num_heads: int, num_frames: int, mlp_ratio: float, *, pool: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TrajectoryAttention(width, num_heads, num_frames, pool=pool)
        self.norm2 = nn.LayerNorm(width, eps=1e-6) if mlp_ratio > 0 else nn.Identity()
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)) if hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, D), or with `pool` to (B, t, D)."""
        around = frame_means(x, self.attn.num_frames) if self.attn.pool else x
        x = around + self.attn(x, self.norm1)
        return x if self.mlp is None else x + self.mlp(self.norm2(x))
