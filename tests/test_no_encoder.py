"""Files that hold no encoder are not taken for one, and the error says why."""

import argparse
import math
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.names import infer_config
from tats_gym.runs.checkpoint import CheckpointError
from tests.encoders import CONFIG, GRID, clips_for, features, random_mae, write_run
from tests.test_checkpoint import Crafted


@pytest.fixture(name="mae")
def _mae():
    return random_mae()


# --- Files without an encoder ----------------------------------------------------------------------------------------


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
        ({"encoder.cls_token": torch.zeros(1)}, "another architecture, .* no place for: 'encoder.cls_token'"),
        ({"encoder.blocks.1.attn.v_bias": None}, r"are missing: 'encoder\.blocks\.1\.attn\.v_bias'; the file may"),
        ({"encoder.patch_embed.proj.weight": None}, "no weight is named patch_embed.proj.weight; names are .* more"),
        ({"encoder.patch_embed.proj.bias": torch.zeros(3)}, r"must have the shape \(128,\), got \(3,\)"),
        ({"encoder.patch_embed.proj.weight": torch.zeros(128, 1, 2, 4, 4)}, r"must be \(D, 3, frames, side, side\)"),
    ],
)
def test_other_architectures_are_named(mae, tmp_path, changes, message):
    torch.save({"model": _changed(mae, changes)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"no encoder in .*a.pth: .*{message}"):
        EncoderSource.find(tmp_path / "a.pth", source_grid=GRID)


def test_unknown_numbers_of_heads_are_not_guessed(tmp_path):
    mae = random_mae(replace(CONFIG, embed_dim=96))
    torch.save(mae.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"does not say how many heads .* nor does its width 96"):
        EncoderSource.find(tmp_path / "a.pth")
    source = EncoderSource.find(tmp_path / "a.pth", source_grid=GRID, num_heads=2)
    with torch.no_grad():
        torch.testing.assert_close(features(source), mae.encoder(mae.embed(clips_for())))


@pytest.mark.parametrize(("width", "heads"), [(384, 6), (1280, 16), (1408, 16), (128, 2)])
def test_published_widths_tell_the_heads(width, heads):
    weights = {"encoder.patch_embed.proj.weight": torch.zeros(width, 3, 2, 16, 16)}
    assert infer_config(weights).num_heads == heads


def test_half_a_file_is_named(mae, tmp_path):
    torch.save({"model": mae.state_dict()}, tmp_path / "a.pth")
    save_file(mae.encoder.state_dict(), tmp_path / "a.safetensors")
    for name, message in (("a.pth", "may be half-written"), ("a.safetensors", "not a complete safetensors file")):
        path = tmp_path / name
        contents = path.read_bytes()
        for part in (contents[: len(contents) // 2], contents[:20], b"", b"some text, not weights\n"):
            path.write_bytes(part)
            with pytest.raises(CheckpointError, match=message if part else "is an empty file"):
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
        ({"mae": {}, "mae_config": {"embed_dims": 3}}, "its recorded architecture is not valid.*embed_dims"),
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
    with pytest.raises(CheckpointError, match=r"a folder of runs, not .*: name one of them: 'run-1'"):
        EncoderSource.find(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "vit"}', "says model_type 'vit', not 'videomae'"),
        ('{"model_type": "videomae"}', "holds no weights: there is none of model.safetensors"),
        ('{"model_type": "vid', "not a JSON file: "),
        ("[]", "holds a list, not an object"),
    ],
)
def test_other_hugging_face_folders_are_named(tmp_path, config, message):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message):
        EncoderSource.find(tmp_path)


def test_a_file_for_serving_is_not_read_back(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"graph")
    with pytest.raises(
        CheckpointError, match=r"encoder\.onnx is a graph for serving, not .* export the run as safetensors"
    ):
        EncoderSource.find(tmp_path / "encoder.onnx")


def test_finding_and_building_leave_the_random_state_alone(mae, tmp_path):
    run = write_run(tmp_path, mae)
    before = torch.get_rng_state()
    EncoderSource.find(run).build()
    EncoderSource.find("tiny", GRID, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert math.isfinite(features(EncoderSource.find(run)).sum())
