"""Finds an MAE: by the name of a preset or of one that is shipped, in a run, an export or a published file."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from tats_gym.encoders.decoder import HEAD, TARGET
from tats_gym.encoders.description import parse_mae_config
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.shipped import MAE_NAMES, SHIPPED
from tats_gym.encoders.weight_files import check_weights
from tats_gym.messages import did_you_mean
from tats_gym.model.target import PIXELS, Target
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig, MaskedAutoencoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.settings.paths import absolute
from tats_gym.tokens import TokenGrid

logger = logging.getLogger(__name__)

DECODER = "the decoder"
PARTS = {
    DECODER: ("decoder.", "encoder_to_decoder.", "mask_token", "decoder_pos_embed."),
    "the encoder's last norm": ("encoder.norm.",),
}
"""Parts that a source may lack, and beginnings of the names of their weights."""


@dataclass(frozen=True)
class MAESource:
    """An MAE's architecture, and its weights if it is a trained one."""

    config: MAEConfig
    weights: dict[str, Tensor] | None = None
    """Its state dict, without those of parts in `drawn`; None for new weights."""
    origin: str = "an MAE"
    """Source of the weights, for messages."""
    grid: TokenGrid | None = None
    """Geometry of the clips that it was trained on; its K has no meaning. None for new weights."""
    drawn: tuple[str, ...] = ()
    """Names of the `PARTS` whose weights are drawn, as the source lacks them."""
    target: str = PIXELS
    """Identity of the target that the weights predict, see `Target.identity`."""

    @classmethod
    def find(cls, name: str, setting: str = "mae", *, decoder: MAEConfig | None = None) -> Self:
        """Look `name` up among presets and shipped MAEs, then on disk.

        Args:
            name: A preset; "demo" or "frozen" for a shipped MAE of the demo clips; or a path that `EncoderSource.find`
                takes: a run, an export, a Hugging Face VideoMAE folder, a published VideoMAE or AdaMAE file. Where the
                source has no decoder, a new one is drawn when the MAE is built.
            setting: The setting that gave the name, for messages.
            decoder: Sizes of a new decoder; None takes the defaults.

        Raises:
            ValueError: If `name` is none of these.
            CheckpointError: If the file holds no video transformer, or is damaged.
        """
        if name in MAE_PRESETS:
            return cls(MAE_PRESETS[name])
        path = SHIPPED.get(name) or Path(absolute(name))
        if not path.exists():
            raise ValueError(
                f"{setting} must be one of {', '.join(MAE_NAMES)}, or a path that exists; "
                f"got {name!r}{did_you_mean(name, MAE_NAMES)}"
            )
        return cls.of_encoder(EncoderSource.find(path), name, decoder or MAEConfig())

    @classmethod
    def of_encoder(cls, source: EncoderSource, origin: str, decoder: MAEConfig) -> Self:
        """Return the MAE of an encoder: with the decoder beside it, else with a new one.

        Args:
            source: The encoder.
            origin: Source of it, for messages.
            decoder: Sizes of a new decoder.

        Raises:
            CheckpointError: If the decoder beside it is damaged.
        """
        lacking = (source.decoder is None, not source.has_norm)
        drawn = tuple(part for part, lacks in zip(PARTS, lacking, strict=True) if lacks)
        if source.decoder is None:
            names = ("decoder_embed_dim", "decoder_depth", "decoder_num_heads")
            config = replace(source.config, **{name: getattr(decoder, name) for name in names})
            return cls(config, source.weights, origin, source.grid, drawn)
        try:
            config = source.decoder.sizes(source.config)
        except CheckpointError as err:
            raise CheckpointError(f"no decoder in {origin}: {err}") from err
        weights, target = source.weights | source.decoder.weights, source.decoder.target
        return cls(config, weights, origin, source.grid, drawn, target)

    @classmethod
    def of_checkpoint(cls, state: dict[str, Any], origin: str) -> Self:
        """Return the MAE in a checkpoint of a pre-training run.

        Args:
            state: Content of the checkpoint.
            origin: Source of it, for messages.

        Raises:
            CheckpointError: If its description of the MAE is damaged.
        """
        config = parse_mae_config(state["mae_config"], origin)
        return cls(config, state["mae"], origin, target=state.get("target", PIXELS))


def build_mae(
    source: MAESource, grid: TokenGrid, *, seed: int, target: Target | None = None, way_out: str = ""
) -> MaskedAutoencoder:
    """Build the MAE, initialised from `seed` where the source has no weights; the global random state is left alone.

    Args:
        source: Architecture, and weights.
        grid: Geometry.
        seed: Seed of new weights.
        target: The values to predict; None takes pixels. Where the source predicts others, the head is drawn anew.
        way_out: Text for the message about weights that do not fit.

    Raises:
        CheckpointError: If the weights are of another geometry or architecture, or not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # weights are drawn on the CPU; torch.manual_seed seeds GPUs too
        mae = MaskedAutoencoder(source.config, grid, target)
    if source.weights is None:
        mae.target.start(mae)
        return mae
    try:
        _load(mae, source)
    except CheckpointError as err:
        raise CheckpointError(f"{source.origin}: {err}{way_out}") from err
    return mae


def _load(mae: MaskedAutoencoder, source: MAESource) -> None:
    """Load a source's weights into an MAE, whose own stay where the source has none; its target starts if that is new.

    Raises:
        CheckpointError: If they do not fit.
    """
    assert source.weights is not None
    weights, wanted, begins = source.weights, mae.state_dict(), sum((PARTS[part] for part in source.drawn), ())
    other = source.target != mae.target.identity and DECODER not in source.drawn
    if other:
        begins += (HEAD,)
        weights = {name: value for name, value in weights.items() if not name.startswith((HEAD, TARGET))}
    if not any(name.startswith(TARGET) for name in weights):
        begins += (TARGET,)
    new = {name: value for name, value in wanted.items() if name.startswith(begins)} if begins else {}
    check_weights(weights, wanted, optional=new, hints=dict.fromkeys(wanted, f" for {mae.grid}"))
    old = source.grid or mae.grid
    if (old.frames, old.size) != (mae.grid.frames, mae.grid.size):
        raise CheckpointError(
            f"its position embeddings are for clips of {old.frames} frames of {old.size} x {old.size}, got "
            f"{mae.grid.frames} of {mae.grid.size} x {mae.grid.size}; give it such clips "
            f"(frames {old.frames}, size {old.size})"
        )
    mae.load_state_dict(new | weights)
    if TARGET in begins:
        mae.target.start(mae)
    if other:
        logger.warning(
            "%s predicts %s, this MAE %s: its prediction head is drawn anew",
            source.origin,
            source.target,
            mae.target.identity,
        )
    if source.drawn:
        logger.warning("%s has no weights of %s: these are drawn anew", source.origin, " and ".join(source.drawn))
