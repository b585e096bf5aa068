"""Exports an encoder for timm: its VisionTransformer, fed by tubelets instead of patches."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tats_gym.encoders.find import EncoderSource, describe
from tats_gym.encoders.weight_files import write_safetensors
from tats_gym.model.encoder import FeatureNorm
from tats_gym.tokens import CHANNELS, TokenGrid


class TubeletEmbed(nn.Module):
    """Embeds clips as tokens in place of timm's PatchEmbed, whose arguments it takes.

    Args:
        grid: The geometry of the clips.
        embed_dim: D.
        patch: Further arguments of PatchEmbed; unused, as `grid` has their values.
    """

    def __init__(self, *, grid: TokenGrid, embed_dim: int, **patch: Any) -> None:
        super().__init__()
        kernel = (grid.tubelet_size, grid.patch_size, grid.patch_size)
        self.num_patches = grid.num_tokens
        self.proj = nn.Conv3d(CHANNELS, embed_dim, kernel_size=kernel, stride=kernel)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed clips (B, C, T, H, W), normalised by ImageNet's mean and std, to (B, L, D)."""
        embedded: Tensor = self.proj(clips)
        return embedded.flatten(2).transpose(1, 2)


def write(source: EncoderSource, folder: Path) -> None:
    """Write encoder.safetensors, under the names of the VisionTransformer that `build` makes."""
    write_safetensors(folder / "encoder.safetensors", timm_weights(source), describe(source))


def build(
    source: EncoderSource, *, norm: FeatureNorm = "encoder", num_classes: int = 0, **settings: Any
) -> VisionTransformer:
    """Build timm's VisionTransformer with an encoder's weights; it takes clips normalised by ImageNet's statistics.

    `forward_features` returns tokens (B, L, D), `forward` their mean, through a head where `num_classes` is not 0.

    Args:
        source: The encoder.
        norm: "encoder" ends with the norm of pre-training. "none" adds a new norm after the mean, as VideoMAE's
            fine-tuning does.
        num_classes: Outputs of a new head; 0 for none.
        settings: Further arguments of timm's VisionTransformer, such as drop_path_rate.

    Raises:
        ValueError: If `norm` is "encoder", but the source has no norm.
    """
    source.check_norm(norm)
    model = VisionTransformer(
        img_size=source.grid.size,
        patch_size=source.grid.patch_size,
        embed_dim=source.config.embed_dim,
        depth=source.config.depth,
        num_heads=source.config.num_heads,
        mlp_ratio=source.config.mlp_ratio,
        class_token=False,
        global_pool="avg",
        fc_norm=norm == "none",
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        embed_layer=partial(TubeletEmbed, grid=source.grid),
        num_classes=num_classes,
        **settings,
    )
    new = {name: value for name, value in model.state_dict().items() if name.startswith(("fc_norm.", "head."))}
    weights = {name: value for name, value in timm_weights(source).items() if norm != "none" or name[:5] != "norm."}
    model.load_state_dict(new | weights)
    return model


def timm_weights(source: EncoderSource) -> dict[str, Tensor]:
    """Convert an encoder's weights to timm's: one bias for queries, keys (zero) and values; a table of embeddings."""
    weights = {"pos_embed": source.pos_embed()[None].contiguous()}  # (1, L, D)
    for name, value in source.weights.items():
        name, bias = name.removeprefix("encoder."), name.removesuffix("q_bias")
        if name.endswith("attn.q_bias"):
            parts = (value, torch.zeros_like(value), source.weights[f"{bias}v_bias"])
            weights[name.replace("q_bias", "qkv.bias")] = torch.cat(parts)
        elif not name.endswith("attn.v_bias") and not name.startswith("pos_embed."):
            weights[name] = value
    return weights
