"""Converts weights between our names and those of published layouts, and infers the architecture from them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tats_gym.encoders.weight_files import check_weights
from tats_gym.messages import listed
from tats_gym.model.encoder import VideoEncoder
from tats_gym.model.pos_embed import sinusoid
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import CHANNELS, TokenGrid

logger = logging.getLogger(__name__)

PUBLISHED_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
"""Heads of every published VideoMAE, by its width."""
HEAD_WIDTH = 64
"""Width of a head in all other encoders and decoders, unless the file gives their number."""

NAME_HEADS = "read it in Python by EncoderSource.find with num_heads, and export that as safetensors, which keeps it"
"""A way out for an encoder whose heads are not known."""

HF_PREFIX = "videomae."
HF_PATCH_EMBED = "embeddings.patch_embeddings.projection"
_HF_BLOCK = {
    "layernorm_before.": "norm1.",
    "layernorm_after.": "norm2.",
    "attention.output.dense.": "attn.proj.",
    "attention.attention.": "attn.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
}
HF_NAMES = {HF_PATCH_EMBED: "patch_embed.proj", "encoder.layer.": "blocks.", **_HF_BLOCK, "layernorm.": "norm."}
"""Parts of transformers' names in an encoder, and ours; replaced in this order in both directions."""
HF_DECODER_NAMES = {"decoder_layers.": "blocks.", **_HF_BLOCK}
"""The same in a decoder, whose last norm has our name."""

_PARTS = ("query", "key", "value")
_BIASES = {"query.bias": "q_bias", "value.bias": "v_bias"}

WRAPPERS = ("module.", "backbone.")
DECODER = re.compile(r"(decoder|encoder_to_decoder|mask_token|decoder_pos_embed)(\.|$)")
"""Names of the decoder's part of a masked autoencoder."""
NOT_ENCODER = re.compile(
    rf"{DECODER.pattern}|(fc_norm|head|classifier"  # of a fine-tuned one
    r"|get_token_probs|pos_embed_probs)(\.|$)"  # AdaMAE's sampler, which lies within its encoder
)


def our_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick the encoder's weights from any known layout, in float32 and under the names of `VideoEncoder`.

    Known are ours and VideoMAE's (pre-training, with a prefix or without; fine-tuned), transformers' and timm's.
    Decoders, classifiers and AdaMAE's sampler are left out. A table of position embeddings becomes `pos_embed.table`,
    unless it is the fixed sinusoid, which is not stored.

    Raises:
        CheckpointError: If the weights are not a video transformer's, or contradict themselves.
    """
    named = {name.removeprefix("encoder."): value for name, value in _one_layout(weights).items()}
    named = {name: value.float() for name, value in named.items() if not NOT_ENCODER.match(name)}
    _check_patch_embed(named)
    named = _without_key_biases(named)
    for name in ("pos_embed", "embeddings.position_embeddings"):
        if name in named:
            table = named.pop(name).flatten(0, -2)  # (L, D)
            if not torch.allclose(table, sinusoid(*table.shape), atol=1e-5):
                named["pos_embed.table"] = table
    return {name if name.startswith("pos_embed.") else f"encoder.{name}": value for name, value in named.items()}


def our_decoder_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pick the decoder's weights from any layout that `our_names` knows, in float32, as `MaskedAutoencoder` names them.

    Returns:
        Those of the decoder, of the projection before it, the mask token, and position embeddings if they are stored.

    Raises:
        CheckpointError: If they contradict themselves.
    """
    named = {name: value.float() for name, value in _one_layout(weights).items() if DECODER.match(name)}
    return _without_key_biases(named)


def hf_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the weights of an encoder or a decoder as transformers does, without prefix; biases under both spellings.

    Releases before 5.18 know only one of q_bias and query.bias, and silently replace a missing one by zeros.
    """
    named: dict[str, Tensor] = {}
    for name, value in weights.items():
        name = name.removeprefix("encoder.")
        for theirs, ours in _hf_table(name).items():
            name = name.replace(ours, theirs)
        if name.endswith("qkv.weight"):
            stem = name.removesuffix("qkv.weight")
            named |= {f"{stem}{part}.weight": rows for part, rows in zip(_PARTS, value.chunk(3), strict=True)}
            continue
        named[name] = value
        for part, short in _BIASES.items():
            if name.endswith(short):
                named[name.removesuffix(short) + part] = value
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in named.items()}


def has_biases(config: Mapping[str, Any]) -> bool:
    """Return whether queries and values have biases in the network of a transformers config.json."""
    return bool(config.get("qkv_bias", config.get("qv_bias", True)))


def with_zero_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add zero biases of queries and values to the weights of an encoder or a decoder without them."""
    widths = {
        name.removesuffix("qkv.weight"): len(weights[name]) // 3 for name in weights if name.endswith("qkv.weight")
    }
    zeros = {f"{stem}{bias}": torch.zeros(width) for stem, width in widths.items() for bias in _BIASES.values()}
    return {**weights, **zeros}


def infer_config(weights: Mapping[str, Tensor], num_heads: int | None = None) -> MAEConfig:
    """Infer the architecture from the shapes of the weights; the heads, which shapes do not show, from the width."""
    width = len(weights["encoder.patch_embed.proj.weight"])
    blocks = {int(match[1]) for name in weights if (match := re.match(r"encoder\.blocks\.(\d+)\.", name))}
    hidden = weights.get("encoder.blocks.0.mlp.fc1.weight")
    kinds = {name.split(".")[1] for name in weights if name.startswith("pos_embed.")}
    return MAEConfig(
        embed_dim=width,
        depth=len(blocks),
        num_heads=num_heads or PUBLISHED_HEADS.get(width) or heads_of_width("encoder", width, NAME_HEADS),
        mlp_ratio=4.0 if hidden is None else len(hidden) / width,
        pos_embed="table" if "table" in kinds else "learned" if kinds else "sinusoid",
    )


def kernel_of(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return (tubelet_size, patch_size) of the patch embedding."""
    tubelet, patch, _ = weights["encoder.patch_embed.proj.weight"].shape[2:]
    return tubelet, patch


def check_encoder_weights(weights: Mapping[str, Tensor], config: MAEConfig, grid: TokenGrid) -> None:
    """Raise CheckpointError unless the weights are those of the encoder, with or without its last norm."""
    with torch.device("meta"):
        wanted = VideoEncoder(config, grid).state_dict()
    optional = [name for name in wanted if name.startswith("encoder.norm.")]
    clips = f", for clips of {grid.frames} x {grid.size} x {grid.size}"
    check_weights(weights, wanted, optional=optional, hints={name: clips for name in wanted if "pos_embed" in name})


def heads_of_width(part: str, width: int, way_out: str) -> int:
    """Guess the number of heads of a part, such as "encoder", of a width that no published one has.

    Args:
        part: The part.
        width: Its width.
        way_out: Text for the message about a width that heads of the usual width do not make up.

    Raises:
        CheckpointError: If they do not.
    """
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"the file does not say how many heads its {part} has, nor does its width {width}: {way_out}"
        )
    logger.warning(
        "the file does not say how many heads its %s has: taking %d of %d", part, width // HEAD_WIDTH, HEAD_WIDTH
    )
    return width // HEAD_WIDTH


def unwrapped(name: str) -> str:
    """Strip the prefixes of torch.compile, data-parallel training and VideoMAE's fine-tuning from a name."""
    name = name.replace("_orig_mod.", "")
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def _one_layout(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of wrapped networks and of transformers' as the published VideoMAE names them."""
    named = {unwrapped(name): value for name, value in weights.items()}
    return _from_hf(named) if any(HF_PATCH_EMBED in name for name in named) else named


def _without_key_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split joint biases of queries, keys and values, and leave out those of keys.

    They add one number to all scores of a query, which does not change their softmax.
    """
    named = dict(weights)
    for name in [name for name in named if name.endswith("attn.qkv.bias")]:
        queries, _, values = named.pop(name).chunk(3)
        stem = name.removesuffix("qkv.bias")
        named |= {f"{stem}q_bias": queries.clone(), f"{stem}v_bias": values.clone()}
    return named


def _hf_table(name: str) -> dict[str, str]:
    return HF_DECODER_NAMES if name.startswith("decoder.") else HF_NAMES


def _from_hf(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename transformers' weights, and join queries, keys and values."""
    named = {}
    for name, value in weights.items():
        name = name.removeprefix(HF_PREFIX)
        for theirs, ours in _hf_table(name).items():
            name = name.replace(theirs, ours)
        if not name.endswith("attn.key.bias"):  # left out for the same reason as in `_without_key_biases`
            named[name] = value
    stems = [name.removesuffix("query.weight") for name in named if name.endswith("attn.query.weight")]
    for stem in stems:
        parts = [f"{stem}{part}.weight" for part in _PARTS]
        if all(part in named for part in parts):
            named[f"{stem}qkv.weight"] = torch.cat([named.pop(part) for part in parts])
        for part, short in _BIASES.items():
            if f"{stem}{part}" not in named:
                continue
            value = named.pop(f"{stem}{part}")
            if not torch.equal(named.setdefault(f"{stem}{short}", value), value):
                raise CheckpointError(f"{stem}{short} and {stem}{part} are two names of one bias, but differ")
    return named


def _check_patch_embed(weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the patch embedding takes tubelets of RGB pixels."""
    weight = weights.get("patch_embed.proj.weight")
    if weight is None:
        raise CheckpointError(
            f"there is no video encoder: no weight is named patch_embed.proj.weight; names are {listed(list(weights))}"
        )
    if weight.ndim == 4:
        raise CheckpointError(
            f"these are the weights of an image transformer, whose patch embedding {tuple(weight.shape)} knows no time"
        )
    if weight.ndim != 5 or weight.shape[1] != CHANNELS or weight.shape[3] != weight.shape[4]:
        raise CheckpointError(
            f"patch_embed.proj.weight must be (D, {CHANNELS}, frames, side, side), got {tuple(weight.shape)}"
        )
