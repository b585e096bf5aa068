"""Fits the position embeddings of an encoder to clips of another geometry."""

from dataclasses import replace

from torch import Tensor

from tats_gym.model.pos_embed import interpolate_learned, interpolate_table, sinusoid
from tats_gym.model.videomae import MAEConfig
from tats_gym.tokens import TokenGrid


def fit_pos_embed(
    config: MAEConfig, weights: dict[str, Tensor], old: TokenGrid, new: TokenGrid, *, interpolate: bool, name: str
) -> tuple[MAEConfig, dict[str, Tensor]]:
    """Return the architecture and the weights of an encoder for clips of another geometry.

    Args:
        config: Its architecture.
        weights: Its weights.
        old: The geometry of its position embeddings.
        new: The geometry of the clips.
        interpolate: Interpolate the position embeddings where the clips have other frames or another size.
        name: Its name, for messages.

    Raises:
        ValueError: If tokens are of another size, or position embeddings differ that may not be interpolated.
    """
    kernel = (old.tubelet_size, old.patch_size)
    if (new.tubelet_size, new.patch_size) != kernel:
        raise ValueError(
            f"tubelet_size and patch_size must be the encoder's, {kernel[0]} and {kernel[1]}, "
            f"got {new.tubelet_size} and {new.patch_size}"
        )
    if (new.frames, new.size) == (old.frames, old.size):
        return config, weights
    if not interpolate:
        raise ValueError(
            f"{name} has position embeddings for {_geometry(old)}, but the clips have {_geometry(new)}: give it "
            "such clips, or let them be interpolated (--interpolate; in Python interpolate=True)"
        )
    fitted = {name: value for name, value in weights.items() if not name.startswith("pos_embed.")}
    if config.pos_embed == "learned":
        time, place = weights["pos_embed.time"], weights["pos_embed.place"]
        fitted["pos_embed.time"], fitted["pos_embed.place"] = interpolate_learned(time, place, old.shape, new.shape)
        return config, fitted
    table = weights.get("pos_embed.table", sinusoid(old.num_tokens, config.embed_dim))
    fitted["pos_embed.table"] = interpolate_table(table, old.shape, new.shape)
    return replace(config, pos_embed="table"), fitted


def _geometry(grid: TokenGrid) -> str:
    return f"{grid.frames} frames of {grid.size} x {grid.size}"
