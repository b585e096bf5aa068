"""The video masked autoencoder: VideoMAE's architecture (Table 5), fed by token indices instead of a mask."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tats_gym.masks import hidden_ids, mask_from_ids, random_ids
from tats_gym.model.block import Block
from tats_gym.model.pos_embed import POS_EMBEDS, PosEmbedKind
from tats_gym.model.target import PIXELS, Distance, Pixels, Target, take
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals
from tats_gym.tokens import CHANNELS, TokenGrid
from tats_gym.train.precision import to_float32


@dataclass(frozen=True, kw_only=True)
class MAEConfig:
    """Widths and depths; the defaults are ViT-B as in Table 5, decoder heads as in AdaMAE."""

    embed_dim: int = 768
    """Width of the encoder, D."""
    depth: int = 12
    """Blocks in the encoder."""
    num_heads: int = 12
    """Attention heads in the encoder; must divide embed_dim."""
    decoder_embed_dim: int = 384
    """Width of the decoder."""
    decoder_depth: int = 4
    """Blocks in the decoder."""
    decoder_num_heads: int = 6
    """Attention heads in the decoder; must divide decoder_embed_dim."""
    mlp_ratio: float = 4.0
    """Width of the hidden layer of every MLP, in widths of its block."""
    pos_embed: PosEmbedKind = "sinusoid"
    """sinusoid: VideoMAE's, fixed. learned: a vector a time plus one a place (MAE-ST's), for small grids. table: fixed
    and stored with the weights, for embeddings interpolated from another grid."""

    def __post_init__(self) -> None:
        check_plain(self)
        for width, heads in (("embed_dim", "num_heads"), ("decoder_embed_dim", "decoder_num_heads")):
            if getattr(self, width) < 1 or getattr(self, heads) < 1 or getattr(self, width) % getattr(self, heads):
                raise ValueError(f"{heads} must divide {width}, got {getattr(self, heads)} and {getattr(self, width)}")
        # Without a block, an encoder embeds.
        check_intervals(self, depth="[0, inf)", decoder_depth="[1, inf)", mlp_ratio="(0, inf)")


MAE_PRESETS = {
    "tiny": MAEConfig(
        embed_dim=128,
        depth=3,
        num_heads=4,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=2,
        pos_embed="learned",
    ),
    "small": MAEConfig(embed_dim=384, num_heads=6, decoder_embed_dim=192, decoder_num_heads=3),
    "base": MAEConfig(),
    "large": MAEConfig(embed_dim=1024, depth=24, num_heads=16, decoder_embed_dim=512, decoder_num_heads=8),
}


class Reconstruction(NamedTuple):
    """The MAE's prediction of the hidden tokens of a batch of clips."""

    pred: Tensor
    """(B, M, P) predicted values; pixels normalised per patch and channel, ordered frame, row, column, channel."""
    target: Tensor
    """(B, M, P) the values that pred should equal."""
    ids_hidden: Tensor
    """(B, M) the hidden tokens that were predicted, ascending."""
    mask: Tensor
    """(B, L) bool, True where a token was hidden."""
    distance: Distance = "squared"
    """Error of a value, see `Target`."""
    target_name: str = PIXELS
    """Name of the target. Pictures paint pixels alone."""

    @property
    def predicted(self) -> Tensor:
        """(B, L) bool, True where a token was hidden and predicted."""
        return torch.zeros_like(self.mask).scatter(1, self.ids_hidden, True)

    @property
    def errors(self) -> Tensor:
        """(B, M) mean error of every hidden token's values, in the target's unit and in float32 or better."""
        error = F.l1_loss if self.distance == "absolute" else F.mse_loss
        return error(to_float32(self.pred), self.target, reduction="none").mean(-1)

    def spread(self, errors: Tensor) -> Tensor:
        """Lay values of the hidden tokens (B, M) out over all tokens (B, L); zero where visible."""
        return errors.new_zeros(self.mask.shape).scatter(1, self.ids_hidden, errors)


def unmasked(grid: TokenGrid, clips: Tensor) -> Reconstruction:
    """Return the empty reconstruction of clips (B, C, T, H, W) without a hidden token."""
    no_values = clips.new_zeros(len(clips), 0, grid.patch_values, dtype=torch.float32)
    no_ids = clips.new_zeros(len(clips), 0, dtype=torch.int64)
    mask = clips.new_zeros(len(clips), grid.num_tokens, dtype=torch.bool)
    return Reconstruction(no_values, no_values, no_ids, mask)


class PatchEmbed(nn.Module):
    """Tubelets to tokens: the published Conv3d, applied as the matrix product that it is."""

    def __init__(self, grid: TokenGrid, embed_dim: int) -> None:
        super().__init__()
        kernel = (grid.tubelet_size, grid.patch_size, grid.patch_size)
        self.proj = nn.Conv3d(CHANNELS, embed_dim, kernel_size=kernel, stride=kernel)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches (..., P), as `TokenGrid.cut` orders them, to (..., D)."""
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Transformer(nn.Module):
    """Pre-norm blocks with query and value biases but none on keys, then a norm.

    With `recompute`, the activations of a block are computed again in the backward pass instead of kept.
    """

    recompute = False

    def __init__(self, width: int, depth: int, num_heads: int, mlp_ratio: float, drop_path: float = 0.0) -> None:
        super().__init__()
        rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]  # rising linearly
        self.blocks = nn.ModuleList([Block(width, num_heads, mlp_ratio, drop_path=rate) for rate in rates])
        self.norm: nn.Module = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor, last: int = 0) -> Tensor:
        """Map tokens (B, n, D) to the normed (B, n, D), or to that of the `last` tokens alone."""
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else block(x)
        normed: Tensor = self.norm(x[:, -last:])
        return normed


class Encoder(Transformer):
    """Pixel normalisation, patch embedding and blocks."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: MAEConfig, grid: TokenGrid, drop_path: float = 0.0) -> None:
        super().__init__(config.embed_dim, config.depth, config.num_heads, config.mlp_ratio, drop_path)
        self.patch_embed = PatchEmbed(grid, config.embed_dim)
        values = grid.patch_values // CHANNELS
        constants = {
            "mean": torch.tensor(IMAGENET_MEAN).repeat_interleave(values) * 255,
            "std": torch.tensor(IMAGENET_STD).repeat_interleave(values) * 255,
        }
        for name, constant in constants.items():
            self.register_buffer(name, constant, persistent=False)

    def embed(self, patches: Tensor, pos_embed: Tensor) -> Tensor:
        """Normalise and embed patches (..., P) in [0, 255], as `TokenGrid.cut` orders them, to (..., D)."""
        embedded: Tensor = self.patch_embed((patches - self.mean) / self.std)
        return embedded + pos_embed


class Decoder(Transformer):
    """Blocks and the head that predicts the P values of a token."""

    def __init__(self, config: MAEConfig, num_values: int) -> None:
        width = config.decoder_embed_dim
        super().__init__(width, config.decoder_depth, config.decoder_num_heads, config.mlp_ratio)
        self.head = nn.Linear(width, num_values)


class MaskedAutoencoder(nn.Module):
    """Encodes the visible tokens of a clip and predicts its target at the hidden ones.

    Parameter names are those of the published VideoMAE, so that weights travel both ways. Source: Table 5; position
    embeddings as in VideoMAE.

    Args:
        config: Widths and depths.
        grid: The clip's geometry. Its K is not used here: the number of ids given decides.
        target: The values to predict; None takes pixels.
    """

    def __init__(self, config: MAEConfig, grid: TokenGrid, target: Target | None = None) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        target = target or Pixels(grid)
        self.encoder = Encoder(config, grid)
        self.encoder_to_decoder = nn.Linear(config.embed_dim, config.decoder_embed_dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.decoder_embed_dim))
        self.decoder = Decoder(config, target.width)
        pos_embed = POS_EMBEDS[config.pos_embed]
        self.pos_embed = pos_embed(grid.shape, config.embed_dim)
        self.decoder_pos_embed = pos_embed(grid.shape, config.decoder_embed_dim)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.target = target

    @property
    def embed_dim(self) -> int:
        """D, the width of an embedded token."""
        return self.config.embed_dim

    def embed(self, clips: Tensor) -> Tensor:
        """Embed every token of clips (B, C, T, H, W) in uint8: (B, L, D), position embeddings added, no gradient."""
        with torch.no_grad():
            return self.encoder.embed(self.grid.cut(clips), self.pos_embed())

    def forward(
        self, clips: Tensor, ids_keep: Tensor, decode_ratio: float = 1.0, scales: Tensor | None = None
    ) -> Reconstruction:
        """Reconstruct the hidden tokens of clips (B, C, T, H, W) in uint8 from the visible ones.

        Args:
            clips: Pixels.
            ids_keep: Visible tokens (B, K); or (B * G, K), G masks for each clip, one clip's after another's.
            decode_ratio: Share of the hidden tokens that the decoder sees and predicts, drawn uniformly for each mask.
            scales: Factors (B * G, K) of the visible tokens' embeddings; None for 1.
        """
        mask, ids_hidden = self.hide(ids_keep, decode_ratio)
        patches = self.grid.cut(clips)  # (B, L, P) uint8
        latent = self.encode(take(patches, ids_keep), ids_keep, scales)  # (B, K, D)
        pred = self.decode(latent, ids_keep, ids_hidden)  # (B, M, P)
        with torch.no_grad():
            target = self.target(patches, ids_hidden)  # (B, M, P)
        return Reconstruction(pred, target, ids_hidden, mask, self.target.distance, self.target.name)

    def hide(self, ids_keep: Tensor, decode_ratio: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the mask (B, L) and the hidden ids (B, M) to predict, a share of them drawn below a ratio of 1."""
        num_tokens, num_visible = self.grid.num_tokens, ids_keep.shape[1]
        mask = mask_from_ids(ids_keep, num_tokens)
        return mask, _drawn(hidden_ids(mask, num_tokens - num_visible), decode_ratio)

    def encode(self, patches: Tensor, ids_keep: Tensor, scales: Tensor | None = None) -> Tensor:
        """Encode the visible patches (B, K, P) in uint8 at their places ids_keep (B, K): (B, K, D)."""
        tokens = self.encoder.embed(patches, F.embedding(ids_keep, self.pos_embed()))
        latent: Tensor = self.encoder(tokens if scales is None else tokens * scales[..., None])
        return latent

    def decode(self, latent: Tensor, ids_keep: Tensor, ids_hidden: Tensor) -> Tensor:
        """Predict the hidden tokens' values (B, M, P) from the visible ones' features (B, K, D)."""
        pos_embed = self.decoder_pos_embed()  # (L, decoder_embed_dim)
        visible = self.encoder_to_decoder(latent) + F.embedding(ids_keep, pos_embed)
        hidden = (self.mask_token + F.embedding(ids_hidden, pos_embed)).to(visible.dtype)
        decoded = self.decoder(torch.cat((visible, hidden), dim=1), last=ids_hidden.shape[1])
        pred: Tensor = self.decoder.head(decoded)
        return pred

    def after_step(self, progress: float) -> None:
        """Let the target follow the weights after an optimiser step, see `Target.after_step`."""
        self.target.after_step(self, progress)

    def statistics(self) -> dict[str, float]:
        """Return the target's numbers to log, by name."""
        return self.target.statistics()


def _drawn(ids: Tensor, share: float) -> Tensor:
    """Draw a share of the columns of ids (B, M), others for each row: fewer columns, in their order, at least one."""
    if share == 1.0:
        return ids
    batch_size, num_hidden = ids.shape
    chosen = random_ids(batch_size, num_hidden, max(1, round(share * num_hidden)), device=ids.device)
    return ids.gather(1, chosen.sort(dim=1).values)


def initialise(module: nn.Module) -> None:
    """Draw a linear layer's weight as the published VideoMAE does (`nn.Module.apply`)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
