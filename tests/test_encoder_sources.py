"""Encoders are found in every layout that they are published in, and nothing else is taken for one."""

import argparse
import json
import math
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from tats_gym.checkpoint import CheckpointError
from tats_gym.encoder_layouts import config_of
from tats_gym.encoder_sources import EncoderSource
from tats_gym.mae import MAE_PRESETS
from tats_gym.positions import interpolate_table, sinusoid
from tats_gym.tokens import TokenGrid
from tests.encoders import CONFIG, GRID, clips_for, features, normalised, random_mae, write_run
from tests.test_checkpoint import Crafted


@pytest.fixture(name="mae")
def _mae():
    return random_mae()


@pytest.fixture(name="tokens")
def _tokens(mae):
    """What the masked autoencoder makes of the clips, without and with its last norm."""
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
        "epochs": 7, "clips_seen": 50, "seed": 3,
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
    with pytest.raises(CheckpointError, match=r"names b\.safetensors, which is missing"):
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


def test_biases_on_keys_change_nothing(mae, tokens, tmp_path):
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
    assert again.config.pos_embed == "sinusoid"  # the same geometry: nothing to interpolate
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


# --- What is no encoder ----------------------------------------------------------------------------------------------


def test_an_image_transformer_is_refused(tmp_path):
    vit = timm.create_model("vit_tiny_patch16_224", depth=1)
    torch.save(vit.state_dict(), tmp_path / "vit.pth")
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    for name in ("vit.pth", "vit.safetensors"):
        with pytest.raises(CheckpointError, match=r"an image transformer, whose patch embedding .* knows no time"):
            EncoderSource.find(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"name one of them: vit\.pth, vit\.safetensors"):
        EncoderSource.find(tmp_path)


def _changed(mae, changes):
    weights = {name: value for name, value in mae.state_dict().items() if changes.get(name, 0) is not None}
    return weights | {name: value for name, value in changes.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.cls_token": torch.zeros(1)}, "another architecture, .* no place for: encoder.cls_token"),
        ({"encoder.blocks.1.attn.v_bias": None}, r"are missing: encoder\.blocks\.1\.attn\.v_bias; the file may be cut"),
        ({"encoder.patch_embed.proj.weight": None}, "no weight is named patch_embed.proj.weight; names are .* more"),
        ({"encoder.patch_embed.proj.bias": torch.zeros(3)}, r"must have the shape \(128,\), got \(3,\)"),
        ({"encoder.patch_embed.proj.weight": torch.zeros(128, 1, 2, 4, 4)}, r"must be \(D, 3, frames, side, side\)"),
    ],
)
def test_other_architectures_are_named(mae, tmp_path, changes, message):
    torch.save({"model": _changed(mae, changes)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"no encoder in .*a.pth: .*{message}"):
        EncoderSource.find(tmp_path / "a.pth", source_grid=GRID)


def test_heads_that_nothing_tells_are_not_guessed(tmp_path):
    mae = random_mae(replace(CONFIG, embed_dim=96))
    torch.save(mae.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"does not say how many heads .* from its width 96 it cannot be told"):
        EncoderSource.find(tmp_path / "a.pth")
    source = EncoderSource.find(tmp_path / "a.pth", source_grid=GRID, num_heads=2)
    with torch.no_grad():
        torch.testing.assert_close(features(source), mae.encoder(mae.embed(clips_for())))


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (1280, 16), (1408, 16), (128, 2)])
def test_published_widths_tell_the_heads(width, heads):
    weights = {"encoder.patch_embed.proj.weight": torch.zeros(width, 3, 2, 16, 16)}
    assert config_of(weights).num_heads == heads


def test_half_a_file_is_named(mae, tmp_path):
    torch.save({"model": mae.state_dict()}, tmp_path / "a.pth")
    save_file(mae.encoder.state_dict(), tmp_path / "a.safetensors")
    for name, message in (("a.pth", "may be half-written"), ("a.safetensors", "no whole safetensors file")):
        path = tmp_path / name
        contents = path.read_bytes()
        for part in (contents[: len(contents) // 2], contents[:20], b"", b"some text, not weights\n"):
            path.write_bytes(part)
            with pytest.raises(CheckpointError, match=message):
                EncoderSource.find(path)


def test_a_pickle_that_would_run_code_does_not(mae, tmp_path):
    target, path = tmp_path / "it ran", tmp_path / "a.pth"
    hidden = argparse.Namespace(inner=Crafted(target))
    for contents in ({"model": mae.state_dict(), "x": Crafted(target)}, {"model": mae.state_dict(), "args": hidden}):
        torch.save(contents, path)
        with pytest.raises(CheckpointError, match="loading would run code, which was not done"):
            EncoderSource.find(path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"epoch": 3, "model": {}}, "holds no state dict, neither as it is nor under model, module.*; it has epoch"),
        ({}, "holds no state dict.*it has nothing"),
        ([1], "holds a list, not a dict"),
        ({"mae": {}, "mae_config": {"embed_dims": 3}}, "recorded of its architecture is not understood.*embed_dims"),
    ],
)
def test_a_file_that_holds_no_state_dict_is_named(tmp_path, contents, message):
    torch.save(contents, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(tmp_path / "a.pth")


def test_a_path_that_is_not_there_is_answered_with_the_nearest(mae, tmp_path):
    write_run(tmp_path, mae)
    with pytest.raises(ValueError, match=r"a path that exists; got .*rum-1'; did you mean '.*run-1'\?"):
        EncoderSource.find(tmp_path / "rum-1")
    with pytest.raises(ValueError, match=r"one of tiny, small, base, large, .*; did you mean 'small'"):
        EncoderSource.find("smal")
    with pytest.raises(CheckpointError, match="there is no checkpoint and no file of weights"):
        EncoderSource.find(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "vit"}', "says model_type 'vit', not 'videomae'"),
        ('{"model_type": "videomae"}', "holds no weights: there is none of model.safetensors"),
        ('{"model_type": "vid', "is no whole JSON file"),
        ("[]", "holds a list, not an object"),
    ],
)
def test_other_hugging_face_folders_are_named(tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(tmp_path)


def test_a_file_for_serving_is_not_read_back(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"\.onnx files are for serving and not read back"):
        EncoderSource.find(tmp_path / "encoder.onnx")


def test_finding_and_building_leave_the_random_state_alone(mae, tmp_path):
    run = write_run(tmp_path, mae)
    before = torch.get_rng_state()
    EncoderSource.find(run).build()
    EncoderSource.find("tiny", GRID, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert math.isfinite(features(EncoderSource.find(run)).sum())
