"""Features of a frozen encoder as a target: the common part of `teacher` and `ema`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.target import Target, take
from tats_gym.train.precision import to_float32


class Features(Target):
    """The features that an encoder gives hidden tokens when it sees all tokens, normed over their width.

    The norm has no weights, and the error is the absolute difference, as in V-JEPA (arXiv 2404.08471).

    Args:
        video: The encoder; its weights become buffers.
        name: Name of the target.
        saved: Whether checkpoints hold the weights.
    """

    def __init__(self, video: VideoEncoder, name: str, *, saved: bool) -> None:
        super().__init__(video.config.embed_dim, name, "absolute")
        freeze(video, saved=saved)
        self.video = video.eval()
        self.deviation = torch.tensor(torch.nan)

    def forward(self, patches: Tensor, ids_hidden: Tensor) -> Tensor:
        """Return the normed features (B * G, M, D) of hidden tokens; each clip is encoded once for its G masks."""
        tokens = self.video.encoder.embed(patches, self.video.pos_embed())
        features = to_float32(self.video.encoder(tokens))  # (B, L, D)
        normed = F.layer_norm(features, features.shape[-1:])
        if self.training:
            self.deviation = std_between(normed)
        return take(normed, ids_hidden)

    def train(self, mode: bool = True) -> "Features":
        """Set the mode; the encoder stays in evaluation mode."""
        super().train(mode)
        self.video.eval()
        return self

    def statistics(self) -> dict[str, float]:
        """Return the deviation between tokens: 0 where the features have collapsed to one vector, at most 1."""
        return {"target_deviation": self.deviation.item()}


def freeze(module: nn.Module, *, saved: bool) -> None:
    """Turn the parameters of a module into buffers, which follow it to a device and which no optimiser sees.

    Args:
        module: The module.
        saved: Whether its state dict still holds them; else it is empty.
    """
    for part in module.modules():
        tensors: list[tuple[str, Tensor]] = [*part.named_parameters(recurse=False)]
        if not saved:
            tensors += part.named_buffers(recurse=False)
        for name, value in tensors:
            delattr(part, name)
            part.register_buffer(name, value.detach(), persistent=saved)


def std_between(features: Tensor) -> Tensor:
    """Return the deviation (0-dim) of features (B, L, D) over clips and tokens, its square averaged over the width."""
    flat = features.flatten(0, 1)
    return (flat - flat.mean(0)).square().mean().sqrt()
