"""The transformer block of VideoMAE and AdaMAE: pre-norm attention and MLP, weights named as timm names them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self-attention of n tokens with N heads of width e = D / N; queries and values may have a bias, keys none."""

    def __init__(self, width: int, num_heads: int, *, qv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if qv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if qv_bias else None
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        bias = None  # or (3 * D,), zero for the keys
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))  # (B, n, 3, N, e)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, N, n, e) each
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, n, D)
        projected: Tensor = self.proj(attended)
        return projected


class MLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class DropPath(nn.Module):
    """Drops a residual branch of a clip at a rate in [0, 1) while training, and scales up those kept.

    Source: stochastic depth, arXiv 1603.09382.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Map a branch (B, n, D) to (B, n, D)."""
        if not self.training:
            return x
        kept = 1 - self.drop_prob
        return x * x.new_empty(len(x), 1, 1).bernoulli_(kept).div_(kept)


class Block(nn.Module):
    """Attention, then an MLP, each on normed tokens and added to them.

    Args:
        width: D.
        num_heads: N; must divide the width.
        mlp_ratio: Width of the MLP's hidden layer, in widths.
        qv_bias: Whether queries and values have a bias, as VideoMAE's have.
        dropout: Rate at which values of either branch are dropped while training.
        drop_path: Rate at which either branch is dropped while training, see `DropPath`.
        eps: The norms'.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        qv_bias: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, num_heads, qv_bias=qv_bias)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        x = x + self.drop_path(self.dropout(self.attn(self.norm1(x))))
        x = x + self.drop_path(self.dropout(self.mlp(self.norm2(x))))
        return x
