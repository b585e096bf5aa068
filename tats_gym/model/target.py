"""The target, the values that an MAE predicts for hidden tokens: its interface, and pixels."""

from typing import Literal

import torch
from torch import Tensor, nn

from tats_gym.tokens import CHANNELS, TokenGrid

Distance = Literal["squared", "absolute"]

PIXELS = "pixels"
"""Name of the target that all published decoders predict."""


class Target(nn.Module):
    """The values that a masked autoencoder predicts for the hidden tokens of a clip; subclasses compute them.

    Its tensors are buffers, so that no optimiser trains them. A run's checkpoints hold the persistent ones.

    Args:
        width: Number of values of a token, P.
        name: Name of the values, for pictures and messages.
        distance: Error of a value: the squared or the absolute difference of prediction and target.
    """

    def __init__(self, width: int, name: str, distance: Distance = "squared") -> None:
        super().__init__()
        self.width, self.name, self.distance = width, name, distance

    def forward(self, patches: Tensor, ids_hidden: Tensor) -> Tensor:
        """Return the values (B * G, M, P) of hidden tokens, in float32; it is called without a graph.

        Args:
            patches: All tokens of clips (B, L, values of a patch) in uint8, as `TokenGrid.cut` orders them.
            ids_hidden: Hidden tokens (B * G, M) of G masks for each clip, one clip's after another's.
        """
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """Text that is the same for two targets only if a prediction of one is a prediction of the other."""
        return self.name

    def start(self, mae: nn.Module) -> None:
        """Begin beside an MAE that has its first weights."""

    def after_step(self, mae: nn.Module, progress: float) -> None:
        """Follow an MAE after an optimiser step; `progress` is the share of the training's steps that came before."""

    def statistics(self) -> dict[str, float]:
        """Return numbers to log, by name."""
        return {}


class Pixels(Target):
    """The pixels of a token, normalised; VideoMAE's target.

    Args:
        grid: The clips' geometry.
    """

    def __init__(self, grid: TokenGrid) -> None:
        super().__init__(grid.patch_values, PIXELS)

    def forward(self, patches: Tensor, ids_hidden: Tensor) -> Tensor:
        """Return the normalised pixels (B * G, M, P) of hidden tokens, see `normalise`."""
        return normalise(take(patches, ids_hidden))


def normalise(patches: Tensor) -> Tensor:
    """Normalise patches (B, M, P) in uint8 per patch and channel; values then ordered (frame row column, channel).

    (x - mean) / (unbiased std + 1e-6) on pixels in [0, 1], as in VideoMAE; here on [0, 255].
    """
    pixels = patches.unflatten(-1, (CHANNELS, -1)).float()
    centred = pixels - pixels.mean(-1, keepdim=True)
    # torch.std is not vectorised on CPUs: 10 times slower.
    std = (centred.square().sum(-1, keepdim=True) / (pixels.shape[-1] - 1)).sqrt()
    normalised: Tensor = centred / (std + 255e-6)
    return normalised.transpose(-1, -2).flatten(-2)


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """Pick tokens (B, L, P) by ids (B * G, K) of G masks for each clip, one clip's after another's: (B * G, K, P)."""
    clips = torch.arange(len(ids), device=ids.device) // (len(ids) // len(tokens))
    return pick(tokens, clips[:, None] * tokens.shape[1] + ids)


def pick(table: Tensor, places: Tensor) -> Tensor:
    """Pick rows of a table (V, L, ...) by their places (B, n) in its V * L rows: (B, n, ...).

    Whole rows are copied at once, where a gather would go value by value.
    """
    rows: Tensor = table.flatten(0, 1).index_select(0, places.flatten()).unflatten(0, places.shape)
    return rows
