"""The interface of masked models: ours, and any `torch.nn.Module` with the same methods."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tats_gym.model.videomae import Reconstruction
from tats_gym.plugs import load_own
from tats_gym.tokens import TokenGrid


@runtime_checkable
class MaskedModel(Protocol):
    """A model that embeds all tokens of a clip, and reconstructs the hidden ones from the visible ones.

    Implementations are subclasses of `torch.nn.Module`. `tats_gym.contracts.check_mae` checks one. One with a method
    `parameter_groups(weight_decay)` gives the groups of AdamW itself, each a dict with `params` and, if it likes,
    `weight_decay` and `lr_scale`, a factor of the learning rate; of others, vectors have no weight decay. A run calls
    `after_step(progress)` of one that has it after each optimiser step, with the share of all steps that came before,
    and logs the numbers that its `statistics()` returns by name.
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
        """Reconstruct the hidden tokens of clips from the visible ones (B * G, K), G masks for each clip in a row.

        A run trains the mean of the reconstruction's errors. Where pred has the P values of a patch, pictures take
        them for pixels that are normalised as ours; elsewhere they leave the reconstruction out.
        """
        ...

    def to(self, device: torch.device) -> Any:
        """Move the weights to a device, as `torch.nn.Module.to` does."""
        ...


def is_own(name: str) -> bool:
    """Return whether a name is `module:function`, and not a path."""
    return ":" in name and not os.path.exists(name)


def find_own(name: str, option: str = "mae") -> Callable[[TokenGrid], nn.Module]:
    """Import the function that `module:function` names.

    Args:
        name: The module and the function.
        option: The setting that gave the name, for messages.

    Raises:
        ValueError: If there is no such function.
    """
    if ":" not in name:
        raise ValueError(f"{option} must be module:function, got {name!r}")
    build: Callable[[TokenGrid], nn.Module] = load_own(name, option)
    return build


def own_model(name: str, grid: TokenGrid, *, seed: int, option: str = "mae") -> MaskedModel:
    """Build the model that `module:function` makes for a geometry; the global random state is left alone.

    Args:
        name: The module and the function.
        grid: Geometry.
        seed: Seed of its weights.
        option: The setting that gave the name, for messages.

    Raises:
        ValueError: If there is no such function.
        TypeError: If it makes no `MaskedModel`.
    """
    build = find_own(name, option)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build(grid)
    if not isinstance(model, MaskedModel):
        lacking = [part for part in ("grid", "embed_dim", "embed", "__call__", "to") if not hasattr(model, part)]
        raise TypeError(
            f"{option} {name} must make a MaskedModel, got a {type(model).__name__} without {', '.join(lacking)}"
        )
    return model


def as_module(model: MaskedModel) -> nn.Module:
    """Return a model as the module that it is.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"a masked model must be a torch.nn.Module to be trained or measured, got {type(model).__name__}"
        )
    return model


def device_of(model: MaskedModel) -> torch.device:
    """Return the device of a model's weights."""
    return next(as_module(model).parameters()).device


@contextmanager
def evaluating(model: MaskedModel) -> Iterator[None]:
    """Set a model's parts to evaluation mode for a while; each part then has the mode again that it had."""
    modes = [(part, part.training) for part in as_module(model).modules()]
    as_module(model).eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
