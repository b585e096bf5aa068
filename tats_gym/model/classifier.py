"""A classifier on a video encoder, and its parameter groups for layer-wise learning rates."""

from typing import Any

import torch
from torch import Tensor, nn

from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.pooling import POOLS, Pool


class VideoClassifier(nn.Module):
    """Encoder, pooling of tokens, norm, linear layer; with pool "mean" the published VideoMAE's classifier.

    Args:
        encoder: Built with norm "none", as the norm comes after the pooling.
        num_classes: Outputs.
        pool: Pooling of a clip's tokens to one vector.
        head_scale: Factor of the head's initial weight and bias.
    """

    def __init__(self, encoder: VideoEncoder, num_classes: int, pool: Pool, head_scale: float = 0.001) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.video = encoder
        self.pool = pool
        tokens = torch.empty(1, encoder.grid.num_tokens, encoder.config.embed_dim, device="meta")
        width = POOLS[pool](tokens, encoder.grid.shape).shape[1]
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02, a=-0.02, b=0.02)
        nn.init.zeros_(self.head.bias)
        self.head.weight.data *= head_scale

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, C, T, H, W), pixels in [0, 255], to logits (B, num_classes)."""
        pooled = POOLS[self.pool](self.video(clips), self.video.grid.shape)
        logits: Tensor = self.head(self.fc_norm(pooled))
        return logits

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return the patterns by which timm groups parameters into layers: the embedding, each block, norm and head."""
        return {
            "stem": r"^video\.(?:encoder\.patch_embed|pos_embed)",
            "blocks": r"^video\.encoder\.blocks\.(\d+)",  # norm and head, unnamed, come last
        }

    def no_weight_decay(self) -> set[str]:
        """Return the names of the matrices without weight decay."""
        return {name for name, _ in self.named_parameters() if "pos_embed." in name}


def layer_groups(classifier: VideoClassifier, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups whose `lr_scale` is layer_decay ** (distance from the head), 1 for the head."""
    from timm.optim._param_groups import param_groups_layer_decay  # takes seconds, and pre-training does without

    groups: list[dict[str, Any]] = param_groups_layer_decay(
        classifier, weight_decay, classifier.no_weight_decay(), layer_decay=layer_decay
    )
    return groups
