"""Where an encoder that is probed comes from: a run, or a preset's name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tats_gym.checkpoint import latest_checkpoint, load_checkpoint
from tats_gym.encoder import FeatureNorm, VideoEncoder, encoder_weights, load_encoder_weights
from tats_gym.mae_loading import MAESource, build_mae
from tats_gym.tokens import TokenGrid


@dataclass(frozen=True)
class EncoderSource:
    """An encoder's weights, and what is known about them."""

    grid: TokenGrid
    """The geometry that they are for."""
    source: MAESource
    """Architecture and weights."""
    origin: dict[str, Any]
    """Which agent, masks, data and seed."""

    @classmethod
    def find(cls, name: str, grid: TokenGrid | None = None, *, seed: int = 0) -> Self:
        """Look `name` up among the presets, whose weights are drawn for `grid`, then on disk."""
        source = MAESource.find(name)
        if source.weights is None:
            if grid is None:
                raise ValueError(f"the preset {name!r} needs a grid")
            weights = build_mae(source, grid, seed=seed).state_dict()
            return cls(grid, MAESource(source.config, weights), {"path": name, "kind": "preset", "seed": seed})
        path = Path(name)
        state = load_checkpoint(path)
        settings = state["config"]
        found = TokenGrid(**settings["grid"])
        if grid is not None and (found.frames, found.size) != (grid.frames, grid.size):
            raise ValueError(
                f"{name} knows positions for {found.frames} frames of {found.size} x {found.size}, but the clips have "
                f"{grid.frames} frames of {grid.size} x {grid.size}"
            )
        origin = {
            "path": str(latest_checkpoint(path) if path.is_dir() else path),
            "kind": "run",
            "data": settings["clips"]["data"],
            "agent": settings["agent"],
            "mask_ratio": found.mask_ratio,
            "visible": found.visible,
            "clips_seen": state["step"],
            "seed": settings["seed"],
        }
        return cls(found, source, origin)

    def build(self, *, norm: FeatureNorm = "encoder") -> VideoEncoder:
        """Make the encoder."""
        encoder = VideoEncoder(self.source.config, self.grid, norm=norm)
        assert self.source.weights is not None
        load_encoder_weights(encoder, encoder_weights(self.source.weights))
        return encoder
