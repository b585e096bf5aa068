"""The interface of masked models: ours, and any `torch.nn.Module` with the same methods."""

import os
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tats_gym.files.user_modules import find_modules_here, load_function
from tats_gym.model.videomae import Reconstruction
from tats_gym.tokens import TokenGrid


@runtime_checkable
class MaskedModel(Protocol):
    """A model that embeds all tokens of a clip, and reconstructs the hidden ones from the visible ones.

    Implementations are subclasses of `torch.nn.Module`. `tats_gym.contracts.check_mae` checks one.
    """

    grid: TokenGrid
    """Geometry of the clips and their tokens."""

    @property
    def embed_dim(self) -> int:
        """D, the width of an embedded token."""
        ...

    def embed(self, clips: Tensor) -> Tensor:
        """Embed clips (B, C, T, H, W) in uint8 for the sampler: (B, L, D), without a graph."""
        ...

    def __call__(self, clips: Tensor, ids_keep: Tensor, decode_ratio: float = 1.0) -> Reconstruction:
        """Reconstruct the hidden tokens of clips from the visible ones (B * G, K), G masks for each clip in a row."""
        ...

    def to(self, device: torch.device) -> Any:
        """Move the weights to a device, as `torch.nn.Module.to` does."""
        ...


def own_model(name: str, grid: TokenGrid) -> MaskedModel | None:
    """Build the model that `module:function` makes for a geometry; None for a name without a colon, or a path.

    Raises:
        ValueError: If there is no such function.
        TypeError: If it makes no `MaskedModel`.
    """
    if ":" not in name or os.path.exists(name):
        return None
    find_modules_here()
    build: Callable[[TokenGrid], nn.Module] = load_function(name, f"mae {name}")
    model = build(grid)
    if not isinstance(model, MaskedModel):
        lacking = [part for part in ("grid", "embed_dim", "embed", "__call__", "to") if not hasattr(model, part)]
        raise TypeError(
            f"mae {name} must make a MaskedModel, got a {type(model).__name__} without {', '.join(lacking)}"
        )
    return model
