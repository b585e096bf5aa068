"""Encoders are found in every published layout, and no other file is taken for one."""

import argparse
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tats_gym.encoders.find import EncoderSource
from tats_gym.model.pos_embed import interpolate_table, sinusoid
from tats_gym.model.videomae import MAE_PRESETS
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.encoders import CONFIG, GRID, clips_for, features, normalised, random_mae, write_run


@pytest.fixture(name="mae")
def _mae():
    return random_mae()


@pytest.fixture(name="tokens")
def _tokens(mae):
    """The masked autoencoder's outputs for the clips, without and with its last norm."""
    with torch.no_grad():
        normed = mae.encoder(mae.embed(clips_for()))
        norm, mae.encoder.norm = mae.encoder.norm, torch.nn.Identity()
        plain = mae.encoder(mae.embed(clips_for()))
        mae.encoder.norm = norm
    return {"encoder": normed, "none": plain}


def _finetuned(mae):
    """Return the published fine-tuned layout: bare names, no last norm, a classifier."""
    names = {name.removeprefix("encoder."): value for name, value in mae.encoder.state_dict().items()}
    bare = {name: value for name, value in names.items() if not name.startswith("norm.")}
    return bare | {"fc_norm.weight": torch.ones(128), "head.weight": torch.zeros(5, 128)}


def test_a_run_is_found_with_its_record(mae, tokens, tmp_path):
    run = write_run(tmp_path, mae)
    for path in (run, run / "checkpoints", next((run / "checkpoints").iterdir())):
        source = EncoderSource.find(path)
        torch.testing.assert_close(features(source), tokens["encoder"])
        torch.testing.assert_close(features(source, "none"), tokens["none"])
    assert (source.config, source.grid) == (CONFIG, GRID)
    commit = source.origin.pop("commit", None)
    assert commit is None or len(commit.partition("-")[0]) == 40
    assert source.origin == {
        "path": str(path), "kind": "run", "run": "run-1", "data": "ssv2", "agent": "tats", "mask_ratio": 0.5,
        "epochs": 7, "masks_seen": 50, "seed": 3,
    }  # fmt: skip


def test_learned_positions_come_along(tmp_path):
    mae = random_mae(replace(CONFIG, pos_embed="learned"))
    source = EncoderSource.find(write_run(tmp_path, mae))
    with torch.no_grad():
        torch.testing.assert_close(features(source), mae.encoder(mae.embed(clips_for())))


def _theirs(kind, folder, **changes):
    """Write a Hugging Face model of random weights, and return its encoder's features of the clips."""
    transformers = pytest.importorskip("transformers")
    settings = {"image_size": 32, "num_frames": 4, "hidden_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "intermediate_size": 256, "decoder_hidden_size": 12,
                "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1, "layer_norm_eps": 1e-6}  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.VideoMAEConfig(**{**settings, **changes})).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    inner = model if kind == "VideoMAEModel" else model.videomae
    with torch.no_grad():
        return inner(normalised(clips_for()).transpose(1, 2)).last_hidden_state


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [("VideoMAEModel", False), ("VideoMAEForPreTraining", False), ("VideoMAEForVideoClassification", True)],
)
def test_hugging_face_folders_are_found(tmp_path, kind, pooled):
    expected = _theirs(kind, tmp_path / "hf", use_mean_pooling=pooled)
    source = EncoderSource.find(tmp_path / "hf")
    assert (source.config.num_heads, source.config.mlp_ratio, source.has_norm) == (4, 2.0, not pooled)
    actual = features(source, "none" if pooled else "encoder")
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    assert EncoderSource.find(tmp_path / "hf" / "model.safetensors").config == source.config


def test_hugging_face_shards_and_pickles_are_read(tmp_path):
    expected = _theirs("VideoMAEModel", tmp_path, use_mean_pooling=False)
    whole = EncoderSource.find(tmp_path).weights
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    torch.testing.assert_close(EncoderSource.find(tmp_path).weights, whole)
    (tmp_path / "pytorch_model.bin").unlink()
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: weights[name] for name in part}, tmp_path / shard)
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    source = EncoderSource.find(tmp_path)
    torch.testing.assert_close(features(source), expected, atol=1e-4, rtol=1e-4)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"names 'b\.safetensors', which is missing"):
        EncoderSource.find(tmp_path)


@pytest.mark.parametrize("spelling", ["old", "new", "both"])
def test_both_spellings_of_hugging_face_biases_are_read(tmp_path, spelling):
    expected = _theirs("VideoMAEModel", tmp_path, use_mean_pooling=False)
    weights = load_file(tmp_path / "model.safetensors")
    for old, new in (("q_bias", "query.bias"), ("v_bias", "value.bias")):
        for name in [name for name in weights if name.endswith((old, new))]:
            value, stem = weights.pop(name), name.removesuffix(old).removesuffix(new)
            named = {"old": [stem + old], "new": [stem + new], "both": [stem + old, stem + new]}[spelling]
            weights |= {name: value.clone() for name in named}
    save_file(weights, tmp_path / "model.safetensors")
    torch.testing.assert_close(features(EncoderSource.find(tmp_path)), expected, atol=1e-4, rtol=1e-4)
    if spelling == "both":
        weights[named[0]] += 1
        save_file(weights, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match="two names of one bias, but differ"):
            EncoderSource.find(tmp_path)


def test_biases_on_keys_do_not_change_the_outputs(mae, tokens, tmp_path):
    weights = mae.encoder.state_dict()
    for name in [name for name in weights if name.endswith("q_bias")]:  # as timm has them
        value = weights.pop(name.replace("q_bias", "v_bias"))
        weights[name.replace("q_bias", "qkv.bias")] = torch.cat((weights.pop(name), torch.randn(128), value))
    save_file(weights, tmp_path / "a.safetensors")
    source = EncoderSource.find(tmp_path / "a.safetensors", source_grid=GRID)
    torch.testing.assert_close(features(source), tokens["encoder"])


def test_hugging_face_models_without_biases_get_zeros(tmp_path):
    expected = _theirs("VideoMAEModel", tmp_path, use_mean_pooling=False, qkv_bias=False)
    torch.testing.assert_close(features(EncoderSource.find(tmp_path)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("key", ["model", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_published_pretraining_files_are_found(mae, tokens, tmp_path, key, prefix):
    weights = {prefix + name: value for name, value in mae.state_dict().items()}
    sampler = {"encoder.get_token_probs.0.norm1.weight": torch.ones(128), "encoder.pos_embed_probs": torch.ones(1)}
    contents = {key: weights | sampler, "args": argparse.Namespace(lr=1e-3), "epoch": 799}
    torch.save(contents, tmp_path / "checkpoint.pth")
    source = EncoderSource.find(tmp_path / "checkpoint.pth", source_grid=GRID)
    assert source.config == replace(CONFIG, decoder_embed_dim=384, decoder_depth=4, decoder_num_heads=6)
    torch.testing.assert_close(features(source), tokens["encoder"])


def test_published_finetuned_files_have_no_norm(mae, tokens, tmp_path):
    torch.save({"module": _finetuned(mae)}, tmp_path / "finetuned.pth")
    source = EncoderSource.find(tmp_path, source_grid=GRID)
    torch.testing.assert_close(features(source, "none"), tokens["none"])
    with pytest.raises(ValueError, match=r"norm must be 'none' for .*finetuned.pth, got 'encoder': it has no encoder"):
        source.build()


def test_files_that_do_not_say_are_for_the_published_geometry(mae, tmp_path):
    torch.save({"model": mae.state_dict()}, tmp_path / "a.pth")
    assert EncoderSource.find(tmp_path / "a.pth").grid.clip_shape == (3, 16, 224, 224)


def test_a_table_of_positions_is_kept_unless_it_is_the_sinusoid(mae, tokens, tmp_path):
    table = torch.randn(1, GRID.num_tokens, 128)
    for given, kind in ((sinusoid(GRID.num_tokens, 128)[None], "sinusoid"), (table, "table")):
        torch.save({"model": mae.state_dict() | {"encoder.pos_embed": given}}, tmp_path / "a.pth")
        source = EncoderSource.find(tmp_path / "a.pth", source_grid=GRID)
        assert source.config.pos_embed == kind
        assert torch.equal(features(source), tokens["encoder"]) == (kind == "sinusoid")
    torch.testing.assert_close(source.build().pos_embed(), table[0])
    with pytest.raises(CheckpointError, match=r"must have the shape \(1568, 128\), for clips of 16 x 224 x 224"):
        EncoderSource.find(tmp_path / "a.pth")


def test_a_preset_is_drawn_from_its_seed():
    one, two, three = (EncoderSource.find("tiny", GRID, seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(features(one), features(two), atol=0, rtol=0)
    assert not torch.equal(features(one), features(three))
    assert one.config == MAE_PRESETS["tiny"]
    with pytest.raises(ValueError, match="the preset 'tiny' needs a grid and a seed"):
        EncoderSource.find("tiny", GRID)


# --- Clips of another geometry ---------------------------------------------------------------------------------------


def test_another_geometry_is_refused_unless_positions_may_be_interpolated(mae, tmp_path):
    run = write_run(tmp_path, mae)
    more = TokenGrid(frames=8, size=48, mask_ratio=0.5)
    with pytest.raises(ValueError, match=r"for 4 frames of 32 x 32, but .* 8 frames of 48 x 48: .*interpolate=True"):
        EncoderSource.find(run, more)
    source = EncoderSource.find(run, more, interpolate=True)
    assert (source.grid, source.config.pos_embed) == (more, "table")
    expected = interpolate_table(sinusoid(8, 128), (2, 2, 2), (4, 3, 3))
    torch.testing.assert_close(source.build().pos_embed(), expected)
    assert features(source, grid=more).shape == (2, 36, 128)
    again = EncoderSource.find(run, replace(GRID, mask_ratio=0.75), interpolate=True)
    assert again.config.pos_embed == "sinusoid"  # the same geometry: no interpolation
    with pytest.raises(ValueError, match="tubelet_size and patch_size must be the encoder's, 2 and 16, got 2 and 8"):
        EncoderSource.find(run, TokenGrid(frames=4, size=32, patch_size=8), interpolate=True)


def test_positions_are_interpolated_by_hand():
    table = torch.tensor([0.0, 4.0])[:, None]
    torch.testing.assert_close(
        interpolate_table(table, (2, 1, 1), (4, 1, 1)).flatten(), torch.tensor([0.0, 1.0, 3.0, 4.0])
    )
    rows = torch.arange(8.0)[:, None]  # 2 x 2 x 2: one step of time is worth 4, of height 2, of width 1
    middle = interpolate_table(rows, (2, 2, 2), (1, 1, 1))
    torch.testing.assert_close(middle, torch.tensor([[3.5]]))


def test_learned_positions_are_interpolated_in_time_and_place(tmp_path):
    mae = random_mae(replace(CONFIG, pos_embed="learned"))
    more = TokenGrid(frames=8, size=32, mask_ratio=0.5)
    source = EncoderSource.find(write_run(tmp_path, mae), more, interpolate=True)
    assert source.config.pos_embed == "learned"
    table = source.build().pos_embed().unflatten(0, (4, 4)) - mae.pos_embed.place
    time = mae.pos_embed.time[:, 0]
    expected = torch.stack((time[0], 0.75 * time[0] + 0.25 * time[1], 0.25 * time[0] + 0.75 * time[1], time[1]))
    torch.testing.assert_close(table, expected[:, None].expand(-1, 4, -1))
