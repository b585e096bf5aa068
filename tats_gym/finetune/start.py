"""Finds the encoder that a fine-tuning starts from."""

from dataclasses import replace
from typing import Any

from tats_gym.datasets import DATASETS
from tats_gym.encoders.description import finetuned_weights, parse_description
from tats_gym.encoders.find import EncoderSource
from tats_gym.finetune.config import FinetuneConfig
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.videomae import MAE_PRESETS
from tats_gym.registration import data_of
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid


def first_encoder(config: FinetuneConfig, state: dict[str, Any] | None) -> VideoEncoder:
    """Build the encoder that the settings name, or the architecture in a checkpoint, whose weights are loaded later.

    Raises:
        CheckpointError: If the checkpoint is not a fine-tuning's, or its description is damaged or does not fit it.
    """
    if state is not None:
        if "classifier" not in state:
            raise CheckpointError(f"not a fine-tuning's checkpoint (its parts: {', '.join(map(str, state))})")
        mae, grid = parse_description(state.get("mae_config"), state.get("grid"), finetuned_weights(state))
        return VideoEncoder(mae, grid, norm="none", drop_path=config.drop_path)
    return find_source(config).build(norm="none", drop_path=config.drop_path)


def find_source(config: FinetuneConfig) -> EncoderSource:
    """Find the encoder that the settings name, for clips of their geometry."""
    changes = {name: getattr(config, name) for name in ("frames", "size") if getattr(config, name) is not None}
    if config.encoder in MAE_PRESETS:
        settings = DATASETS[data_of(config.env)].settings
        shape = {name: settings[name] for name in ("frames", "size") if name in settings}
        # A classifier sees all tokens: any ratio serves that leaves one visible and one hidden, as a half always does.
        grid = TokenGrid(**{**shape, **changes, "mask_ratio": 0.5})
        return EncoderSource.find(config.encoder, grid, seed=config.seed)
    source = EncoderSource.find(config.encoder)
    grid = replace(source.grid, **changes)
    if config.scratch:
        return source.untrained(grid, config.seed)
    return EncoderSource.find(config.encoder, grid, interpolate=config.interpolate) if changes else source
