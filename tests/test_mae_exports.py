"""Whole MAEs in the layouts of other programs, compared with transformers' class."""

import json
from dataclasses import replace

import pytest
import torch

from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.export import export_encoder
from tats_gym.export.mae import export_mae
from tests.encoders import CONFIG, GRID, random_mae, write_run
from tests.maes import ARCHITECTURE, SIZES, check_same_loss, published_weights, transformers_mae, write_published


@pytest.mark.parametrize("config", [ARCHITECTURE, CONFIG])
def test_transformers_loads_every_weight_and_gives_the_same_loss(tmp_path, config):
    transformers = pytest.importorskip("transformers")
    mae = random_mae(config)
    export_mae(write_run(tmp_path, mae), "mae-hf", tmp_path / "out")
    model, info = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["norm_pix_loss"]
    check_same_loss(mae, model.eval())
    again = build_mae(MAESource.find(str(tmp_path / "out")), GRID, seed=0).state_dict()
    assert all(torch.equal(again[name], value) for name, value in mae.state_dict().items())


def test_the_published_layout_has_the_published_names_and_shapes(tmp_path):
    mae = random_mae(ARCHITECTURE)
    (file,) = export_mae(write_run(tmp_path, mae), "mae-videomae", tmp_path / "out")
    written = torch.load(file, weights_only=True)["model"]
    assert {name: value.shape for name, value in written.items()} == {
        name: value.shape for name, value in published_weights(**SIZES).items()
    }
    check_same_loss(mae, transformers_mae(written))
    again = build_mae(MAESource.find(str(tmp_path / "out")), GRID, seed=0).state_dict()
    assert all(torch.equal(again[name], value) for name, value in mae.state_dict().items())


def test_a_published_file_leaves_in_every_format(tmp_path):
    weights = published_weights(**SIZES, sampler=True)
    write_published(tmp_path / "a.pth", weights)
    for format in ("mae", "mae-hf", "mae-videomae"):
        export_mae(tmp_path / "a.pth", format, tmp_path / format)
        found = MAESource.find(str(tmp_path / format))
        assert (found.config, found.grid.clip_shape) == (ARCHITECTURE, GRID.clip_shape)
        assert all(torch.equal(value, weights[name]) for name, value in found.weights.items())


@pytest.mark.parametrize("format", ["mae", "mae-hf", "mae-videomae"])
def test_an_encoder_does_not_leave_as_an_mae(tmp_path, format):
    export_encoder(EncoderSource.find(write_run(tmp_path, random_mae())), "safetensors", tmp_path / "out")
    with pytest.raises(ValueError, match=f"has no weights of the decoder; format {format} is for whole MAEs"):
        export_mae(tmp_path / "out", format, tmp_path / "mae")
    assert not (tmp_path / "mae").exists()


@pytest.mark.parametrize("format", ["mae-hf", "mae-videomae"])
def test_learned_positions_leave_in_our_format_alone(tmp_path, format):
    run = write_run(tmp_path, random_mae(replace(CONFIG, pos_embed="learned")))
    with pytest.raises(ValueError, match=r"'learned' .*; these can hold it: mae; .* --mae\.pos-embed sinusoid"):
        export_mae(run, format, tmp_path / "out")
    export_mae(run, "mae", tmp_path / "out")
    assert MAESource.find(str(tmp_path / "out")).config.pos_embed == "learned"
