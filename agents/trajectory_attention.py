"""Trajectory attention, folded: exact, without an L x L softmax and without projecting every trajectory token."""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F


class TrajectoryAttention(nn.Module):
    """Attend within every frame first, then along the trajectory that this makes through time.

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
    """

    def __init__(self, width: int, num_heads: int, num_frames: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"num_heads must divide width, got {num_heads} and {width}")
        self.num_heads, self.num_frames = num_heads, num_frames
        self.qkv = nn.Linear(width, 3 * width)
        self.trajectory_q = nn.Linear(width, width)
        self.trajectory_k = nn.Linear(width, width, bias=False)
        self.trajectory_v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, D)."""
        trajectories = self._attend_frames(x)  # (B, L, t, D)
        own = trajectories.unflatten(1, (self.num_frames, -1)).diagonal(dim1=1, dim2=3)  # (B, s, D, t)
        own = rearrange(own, "b s d f -> b (f s) d")
        mixed = self._attend_time(own, trajectories)
        projected: Tensor = self.proj(mixed)
        return projected

    def _attend_frames(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b l (three n d) -> three b n l d", three=3, n=self.num_heads)
        frames = zip(k.chunk(self.num_frames, dim=2), v.chunk(self.num_frames, dim=2), strict=True)
        attended = [F.scaled_dot_product_attention(q, k_frame, v_frame) for k_frame, v_frame in frames]
        return rearrange(torch.stack(attended, dim=3), "b n l f d -> b l f (n d)")

    def _attend_time(self, own: Tensor, trajectories: Tensor) -> Tensor:
        """Attend from each own token (B, L, D) along its trajectory (B, L, t, D): (B, L, D)."""
        n = self.num_heads
        q = rearrange(self.trajectory_q(own), "b l (n e) -> b l n e", n=n)
        key_weight = rearrange(self.trajectory_k.weight, "(n e) d -> n e d", n=n)
        value_weight = rearrange(self.trajectory_v.weight, "(n e) d -> n e d", n=n)
        folded = einsum(q, key_weight, "b l n e, n e d -> b l n d") * q.shape[-1] ** -0.5
        attention = (folded @ trajectories.transpose(-1, -2)).softmax(-1)  # (B, L, N, t)
        gathered = attention.to(trajectories.dtype) @ trajectories  # (B, L, N, D)
        values = einsum(gathered, value_weight, "b l n d, n e d -> b l n e")
        mixed: Tensor = rearrange(values, "b l n e -> b l (n e)") + self.trajectory_v.bias
        return mixed


class TrajectoryBlock(nn.Module):
    """Trajectory attention with a norm before and a residual around it, then an MLP where its ratio is above 0.

    Norm, residual and MLP around the attention are not in the paper; these are our reading.
    """

    def __init__(self, width: int, num_heads: int, num_frames: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = TrajectoryAttention(width, num_heads, num_frames)
        self.norm2 = nn.LayerNorm(width, eps=1e-6) if mlp_ratio > 0 else nn.Identity()
        hidden = int(width * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)) if hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, D)."""
        x = x + self.attn(self.norm1(x))
        return x if self.mlp is None else x + self.mlp(self.norm2(x))
