"""The peers' published modules, written anew from the definitions: VideoMAE, AdaMAE's sampler, trajectory attention.

Sources: VideoMAE (Tong et al. 2022), AdaMAE (Bandara et al. 2023), Motionformer (Patrick et al. 2021) and their code.
`fused` selects PyTorch's fused attention kernel instead of an explicit softmax.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.model.pos_embed import sinusoid
from tats_gym.model.videomae import MAEConfig
from tats_gym.tokens import CHANNELS, TokenGrid

SAMPLER_HEADS = 8
SAMPLER_DROPOUT = 0.1


def attend(q: Tensor, k: Tensor, v: Tensor, *, fused: bool) -> Tensor:
    """Attend with queries (..., n, e) to keys and values (..., m, e): (..., n, e)."""
    if fused:
        return F.scaled_dot_product_attention(q, k, v)
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return scores.softmax(dim=-1) @ v


class Attention(nn.Module):
    """Self-attention with biases on queries and values, or on none of them."""

    def __init__(self, width: int, num_heads: int, *, bias: bool, dropout: float, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.fused = num_heads, fused
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        bias = None
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(*qkv.unbind(0), fused=self.fused).transpose(1, 2).flatten(2)
        projected: Tensor = self.proj_drop(self.proj(attended))
        return projected


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        mapped: Tensor = self.drop(self.fc2(F.gelu(self.fc1(x))))
        return mapped


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        fused: bool,
        bias: bool = True,
        dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, num_heads, bias=bias, dropout=dropout, fused=fused)
        self.mlp = Mlp(width, int(width * mlp_ratio), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, n, D) to (B, n, D)."""
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class _Blocks(nn.Module):
    patch_embed: nn.Module
    head: nn.Module

    def __init__(self, width: int, depth: int, num_heads: int, mlp_ratio: float, *, fused: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(width, num_heads, mlp_ratio, fused=fused) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)


class _PatchEmbed(nn.Module):
    def __init__(self, grid: TokenGrid, width: int) -> None:
        super().__init__()
        kernel = (grid.tubelet_size, grid.patch_size, grid.patch_size)
        self.proj = nn.Conv3d(CHANNELS, width, kernel, stride=kernel)

    def forward(self, videos: Tensor) -> Tensor:
        embedded: Tensor = self.proj(videos)
        return embedded.flatten(2).transpose(1, 2)


class PublishedMAE(nn.Module):
    """VideoMAE on float videos and a boolean mask; its weights have the names and shapes of `MaskedAutoencoder`'s.

    Args:
        config: Widths and depths; positions are always sinusoids.
        grid: The clip's geometry.
        fused: See the head of this file.
    """

    positions: Tensor
    decoder_positions: Tensor

    def __init__(self, config: MAEConfig, grid: TokenGrid, *, fused: bool) -> None:
        super().__init__()
        self.encoder = _Blocks(config.embed_dim, config.depth, config.num_heads, config.mlp_ratio, fused=fused)
        self.encoder.patch_embed = _PatchEmbed(grid, config.embed_dim)
        width = config.decoder_embed_dim
        self.decoder = _Blocks(width, config.decoder_depth, config.decoder_num_heads, config.mlp_ratio, fused=fused)
        self.decoder.head = nn.Linear(width, grid.patch_values)
        self.encoder_to_decoder = nn.Linear(config.embed_dim, width, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        for name, columns in (("positions", config.embed_dim), ("decoder_positions", width)):
            self.register_buffer(name, sinusoid(grid.num_tokens, columns), persistent=False)

    def embed(self, videos: Tensor) -> Tensor:
        """Embed normalised videos (B, C, T, H, W), without positions: (B, L, D)."""
        embedded: Tensor = self.encoder.patch_embed(videos)
        return embedded

    def reconstruct(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Predict the hidden tokens' values (B, M, P) from tokens (B, L, D) without positions; `mask` (B, L) hides."""
        batch = len(tokens)
        visible = (tokens + self.positions)[~mask].unflatten(0, (batch, -1))
        latent = self.encoder_to_decoder(self.encoder.norm(self.encoder.blocks(visible)))
        positions = self.decoder_positions.expand(batch, -1, -1)
        seen, hidden = (positions[part].unflatten(0, (batch, -1)) for part in (~mask, mask))
        decoded = self.decoder.blocks(torch.cat((latent + seen, self.mask_token + hidden), dim=1))
        predicted: Tensor = self.decoder.head(self.decoder.norm(decoded[:, -hidden.shape[1] :]))
        return predicted


class PublishedSampler(nn.Module):
    """AdaMAE's sampler: maps tokens without positions to a probability for each."""

    def __init__(self, width: int, num_tokens: int, *, fused: bool) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.block = Block(width, SAMPLER_HEADS, 4.0, fused=fused, bias=False, dropout=SAMPLER_DROPOUT, eps=1e-5)
        self.head = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to probabilities (B, L)."""
        logits: Tensor = self.head(self.block(tokens + self.pos_embed)).squeeze(-1)
        return logits.nan_to_num().softmax(dim=-1)


class PublishedTrajectoryAttention(nn.Module):
    """Motionformer's trajectory attention: a softmax over each frame of L x L scores, then a projection of all tokens.

    The softmax over parts of a row has no fused form.

    Args:
        width: D.
        num_heads: N.
        num_frames: t, of L = t * s tokens.
    """

    def __init__(self, width: int, num_heads: int, num_frames: int) -> None:
        super().__init__()
        self.num_heads, self.num_frames = num_heads, num_frames
        self.qkv = nn.Linear(width, 3 * width)
        self.trajectory_q = nn.Linear(width, width)
        self.trajectory_kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, D)."""
        heads, frames = self.num_heads, self.num_frames
        q, k, v = self.qkv(x).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (B, N, L, e)
        scale = q.shape[-1] ** -0.5
        scores = (q @ k.transpose(-2, -1) * scale).unflatten(-1, (frames, -1)).softmax(dim=-1)  # (B, N, L, t, s)
        along = torch.einsum("bnlts,bntsd->bltnd", scores, v.unflatten(2, (frames, -1)))
        along = along.flatten(-2)  # (B, L, t, D)
        own = along.unflatten(1, (frames, -1)).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).flatten(1, 2)  # (B, L, D)
        q2 = self.trajectory_q(own).unflatten(-1, (heads, -1)) * scale  # (B, L, N, e)
        k2, v2 = self.trajectory_kv(along).unflatten(-1, (2, heads, -1)).unbind(3)  # (B, L, t, N, e)
        weights = torch.einsum("blnd,bltnd->blnt", q2, k2).softmax(dim=-1)
        mixed = torch.einsum("blnt,bltnd->blnd", weights, v2).flatten(-2)
        projected: Tensor = self.proj(mixed)
        return projected
