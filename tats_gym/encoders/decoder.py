"""Describes the decoder of a masked autoencoder in a file: its weights, and the sizes that these show."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from tats_gym.encoders.description import read_number
from tats_gym.encoders.names import has_biases, heads_of_width, our_decoder_names, with_zero_biases
from tats_gym.model.target import PIXELS
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError

PUBLISHED_HEADS = {192: 3, 384: 6, 512: 8, 640: 8}
"""Heads of every published VideoMAE's decoder, by its width."""

HEAD, TARGET = "decoder.head.", "target."
"""Beginnings of the names of the weights that predict the target, and of the target's own state."""

NAME_HEADS = "bring it as a Hugging Face VideoMAE folder, whose config.json tells them"
"""A way out for a decoder whose heads are not known."""


@dataclass(frozen=True)
class DecoderSource:
    """The weights of a decoder, and its number of heads, which they do not show."""

    weights: dict[str, Tensor]
    """float32, under the names of `MaskedAutoencoder`: decoder, projection, mask token, embeddings if stored, and the
    state of a target that has one."""
    num_heads: int | None = None
    """None takes the published number for the width, else heads 64 wide."""
    target: str = PIXELS
    """Identity of the target that it predicts, see `Target.identity`."""

    @classmethod
    def among(cls, weights: Mapping[str, Tensor], num_heads: int | None = None, target: str = PIXELS) -> Self | None:
        """Pick the decoder from weights in any layout; None if there is none."""
        decoder_weights = our_decoder_names(weights)
        if target != PIXELS:
            decoder_weights |= {name: value for name, value in weights.items() if name.startswith(TARGET)}
        return cls(decoder_weights, num_heads, target) if decoder_weights else None

    @classmethod
    def of_hf(cls, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self | None:
        """Pick the decoder from the weights of a transformers folder.

        Args:
            config: Its config.json.
            weights: Its weights.

        Returns:
            None if there is none, or if it predicts pixels that are not normalised, which no MAE here does.
        """
        decoder = cls.among(weights)
        if decoder is None or not config.get("norm_pix_loss", True):
            return None
        biased = decoder.weights if has_biases(config) else with_zero_biases(decoder.weights)
        return cls(biased, read_number(config, "decoder_num_attention_heads", 6))

    def sizes(self, encoder: MAEConfig) -> MAEConfig:
        """Return the architecture of the whole MAE.

        Args:
            encoder: The encoder's architecture.

        Raises:
            CheckpointError: If the weights do not show the decoder's.
        """
        if "mask_token" not in self.weights:
            raise CheckpointError("weights are missing: mask_token; the file may be cut short, or of another model")
        width = self.weights["mask_token"].shape[-1]
        blocks = {int(match[1]) for name in self.weights if (match := re.match(r"decoder\.blocks\.(\d+)\.", name))}
        heads = self.num_heads or PUBLISHED_HEADS.get(width) or heads_of_width("decoder", width, NAME_HEADS)
        try:
            return replace(encoder, decoder_embed_dim=width, decoder_depth=len(blocks), decoder_num_heads=heads)
        except ValueError as err:
            raise CheckpointError(f"its weights are not those of a decoder: {err}") from err
