"""Whole MAEs of other programs: published files, written by hand, and transformers' class, to compare ours with."""

import argparse

import pytest
import torch

from tats_gym.model.videomae import MAEConfig
from tests.encoders import clips_for, normalised

SIZES = {"width": 128, "depth": 2, "decoder_width": 64, "decoder_depth": 3}
ARCHITECTURE = MAEConfig(
    embed_dim=128, depth=2, num_heads=2, decoder_embed_dim=64, decoder_depth=3, decoder_num_heads=1
)
IDS = torch.tensor([[0, 3, 6], [1, 2, 7]])
MASK = torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1], [1, 0, 0, 1, 1, 1, 1, 0]], dtype=torch.bool)
"""True where IDS hide a token, of the eight of GRID."""
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def transformers_names(weights):
    """Rename an MAE's weights to those of transformers' VideoMAEForPreTraining."""
    renamed = {}
    for name, value in weights.items():
        name = name.replace("encoder.patch_embed.proj", "videomae.embeddings.patch_embeddings.projection")
        name = name.replace("encoder.norm.", "videomae.layernorm.")
        name = name.replace("decoder.blocks", "decoder.decoder_layers").replace(
            "encoder.blocks", "videomae.encoder.layer"
        )
        name = name.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
        name = name.replace("attn.proj", "attention.output.dense")
        name = name.replace("mlp.fc1", "intermediate.dense").replace("mlp.fc2", "output.dense")
        if name.endswith("attn.qkv.weight"):
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[name.replace("attn.qkv", f"attention.attention.{part}")] = rows
        else:
            renamed[name.replace("attn.", "attention.attention.")] = value
    return renamed


def spelled_for(model, weights):
    """Rename biases as this release of transformers spells them in its model."""
    weights, known = dict(weights), set(model.state_dict())
    for name in [n for n in weights if n.endswith(("q_bias", "v_bias")) and n not in known]:
        part = "query" if name.endswith("q_bias") else "value"
        weights[name.replace(name.rsplit(".", 1)[1], f"{part}.bias")] = weights.pop(name)
    return weights


def published_weights(width, depth, decoder_width, decoder_depth, *, values=2 * 16 * 16 * 3, sampler=False):
    """Write the state dict of a published pre-training, names and shapes by hand, of random weights."""
    shapes = {
        "mask_token": (1, 1, decoder_width),
        "encoder_to_decoder.weight": (decoder_width, width),
        "encoder.patch_embed.proj.weight": (width, 3, 2, 16, 16),
        "encoder.patch_embed.proj.bias": (width,),
        "decoder.head.weight": (values, decoder_width),
        "decoder.head.bias": (values,),
    }
    for part, size, blocks in (("encoder", width, depth), ("decoder", decoder_width, decoder_depth)):
        for block in (f"{part}.blocks.{number}." for number in range(blocks)):
            shapes |= {block + name: (size,) for name in ("attn.q_bias", "attn.v_bias", "attn.proj.bias")}
            shapes |= {f"{block}attn.qkv.weight": (3 * size, size), f"{block}attn.proj.weight": (size, size)}
            shapes |= {f"{block}mlp.fc1.weight": (4 * size, size), f"{block}mlp.fc1.bias": (4 * size,)}
            shapes |= {f"{block}mlp.fc2.weight": (size, 4 * size), f"{block}mlp.fc2.bias": (size,)}
            shapes |= {f"{block}{norm}.{kind}": (size,) for norm in ("norm1", "norm2") for kind in ("weight", "bias")}
        shapes |= {f"{part}.norm.{kind}": (size,) for kind in ("weight", "bias")}
    if sampler:  # AdaMAE's lies in its encoder
        shapes |= {"encoder.pos_embed_probs": (1, 8, width), "encoder.get_token_probs.1.weight": (1, width)}
        shapes |= {"encoder.get_token_probs.0.attn.qkv.weight": (3 * width, width)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    return {name: value + ("norm" in name and name.endswith("weight")) for name, value in weights.items()}


def write_published(path, weights, key="model"):
    """Write a file of clips (4, 32, 32) as the published pre-trainings do, with the command line that they keep."""
    torch.save({key: weights, "epoch": 1, "args": argparse.Namespace(num_frames=4, input_size=32, lr=1.0)}, path)


def transformers_mae(weights=None, **changes):
    """Return transformers' model of these sizes, with the weights or random ones."""
    transformers = pytest.importorskip("transformers")
    settings = {"image_size": 32, "num_frames": 4, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 512, "decoder_hidden_size": 64, "decoder_num_attention_heads": 1,
                "decoder_num_hidden_layers": 3, "decoder_intermediate_size": 256, "use_mean_pooling": False,
                "layer_norm_eps": 1e-6}  # fmt: skip
    torch.manual_seed(0)
    model = transformers.VideoMAEForPreTraining(transformers.VideoMAEConfig(**{**settings, **changes})).eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    if weights is not None:
        missing, unexpected = model.load_state_dict(spelled_for(model, transformers_names(weights)), strict=False)
        assert not unexpected
        assert not missing
    return model


@torch.no_grad()
def check_same_loss(mae, model):
    """Compare predictions and loss of the same clips and masks."""
    theirs = model(normalised(clips_for()).transpose(1, 2), bool_masked_pos=MASK)
    ours = mae.eval()(clips_for(), IDS)
    torch.testing.assert_close(ours.pred, theirs.logits, **CLOSE)
    torch.testing.assert_close(ours.errors.mean(), theirs.loss, **CLOSE)
