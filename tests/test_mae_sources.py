"""MAEs of other programs, from their layouts: compared with transformers' class, and as the start of runs."""

from dataclasses import replace

import pytest
import torch

from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.export import export_encoder
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.tokens import TokenGrid
from tests.encoders import GRID, random_mae, write_run
from tests.maes import ARCHITECTURE, SIZES, check_same_loss, published_weights, transformers_mae, write_published


@pytest.mark.parametrize("changes", [{}, {"qkv_bias": False}, {"decoder_num_attention_heads": 4}])
def test_a_transformers_folder_gives_the_loss_of_transformers(tmp_path, changes):
    model = transformers_mae(**changes)
    model.save_pretrained(tmp_path / "hf")
    source = MAESource.find(str(tmp_path / "hf"))
    assert source.config == replace(ARCHITECTURE, decoder_num_heads=changes.get("decoder_num_attention_heads", 1))
    assert not source.drawn
    check_same_loss(build_mae(source, GRID, seed=0), model)


@pytest.mark.parametrize(("key", "prefix"), [("model", ""), ("module", ""), ("model", "module.")])
@pytest.mark.parametrize("sampler", [False, True])
def test_a_published_file_gives_the_loss_of_transformers(tmp_path, key, prefix, sampler):
    weights = published_weights(**SIZES, sampler=sampler)
    named = {prefix + name: value for name, value in weights.items()}
    write_published(tmp_path / "a.pth", named, key)
    source = MAESource.find(str(tmp_path / "a.pth"))
    assert (source.config, source.drawn) == (ARCHITECTURE, ())
    mae = build_mae(source, GRID, seed=0)
    assert set(mae.state_dict()) == {name for name in weights if "prob" not in name}
    check_same_loss(mae, transformers_mae({name: value for name, value in weights.items() if "prob" not in name}))


def test_halves_are_read_as_single_precision(tmp_path):
    weights = published_weights(**SIZES)
    write_published(tmp_path / "a.pth", {name: value.half() for name, value in weights.items()})
    built = build_mae(MAESource.find(str(tmp_path / "a.pth")), GRID, seed=0).state_dict()
    assert all(torch.equal(built[name], value.half().float()) for name, value in weights.items())


@pytest.mark.parametrize(
    ("widths", "heads"), [((384, 192), (6, 3)), ((768, 384), (12, 6)), ((1024, 512), (16, 8)), ((1280, 640), (16, 8))]
)
def test_heads_are_those_of_the_published_sizes(tmp_path, widths, heads):
    small, wide = widths[1], widths[0]
    torch.save({"model": published_weights(wide, 1, small, 1)}, tmp_path / "a.pth")
    config = MAESource.find(str(tmp_path / "a.pth")).config
    assert (config.embed_dim, config.decoder_embed_dim) == widths
    assert (config.num_heads, config.decoder_num_heads) == heads


def _classifier(folder):
    """Write a file of the published fine-tuning."""
    weights = {name.removeprefix("encoder."): value for name, value in published_weights(**SIZES).items()}
    own = {name: value for name, value in weights.items() if name.startswith(("patch_embed", "blocks"))}
    own |= {"fc_norm.weight": torch.ones(128), "fc_norm.bias": torch.zeros(128), "head.weight": torch.ones(5, 128)}
    write_published(folder / "a.pth", own)
    return folder / "a.pth"


def _encoder_export(folder):
    export_encoder(EncoderSource.find(write_run(folder, random_mae(ARCHITECTURE))), "safetensors", folder / "out")
    return folder / "out"


@pytest.mark.parametrize(
    ("write", "parts"),
    [(_classifier, "the decoder and the encoder's last norm"), (_encoder_export, "the decoder")],
)
def test_parts_that_are_not_there_are_drawn_and_named(tmp_path, caplog, write, parts):
    path = write(tmp_path)
    sizes = replace(ARCHITECTURE, decoder_embed_dim=24, decoder_depth=1, decoder_num_heads=3)
    built = build_mae(MAESource.find(str(path), decoder=sizes), GRID, seed=7)
    assert f"{path} has no weights of {parts}: these are drawn anew" in caplog.text
    own = EncoderSource.find(path).weights
    new = build_mae(MAESource(sizes), GRID, seed=7).state_dict()
    state = built.state_dict()
    for name, value in state.items():
        assert torch.equal(value, own[name] if name in own else new[name]), name
    assert len(own) > 20
    assert state["decoder.blocks.0.mlp.fc1.weight"].shape == (96, 24)


def test_a_decoder_of_other_targets_is_left_out(tmp_path):
    transformers_mae(norm_pix_loss=False).save_pretrained(tmp_path / "hf")
    source = MAESource.find(str(tmp_path / "hf"))
    assert source.drawn == ("the decoder",)


@pytest.mark.parametrize("lost", ["mask_token", "decoder.norm.bias", "decoder.blocks.1.attn.q_bias"])
def test_a_decoder_with_a_weight_missing_is_refused(tmp_path, lost):
    weights = published_weights(**SIZES)
    del weights[lost]
    write_published(tmp_path / "a.pth", weights)
    with pytest.raises(CheckpointError, match=f"weights are missing: '?{lost}"):
        build_mae(MAESource.find(str(tmp_path / "a.pth")), GRID, seed=0)
    EncoderSource.find(tmp_path / "a.pth").build()  # which needs no decoder


def test_positions_of_other_clips_are_refused(tmp_path):
    torch.save({"model": published_weights(**SIZES)}, tmp_path / "a.pth")
    source = MAESource.find(str(tmp_path / "a.pth"))
    with pytest.raises(
        CheckpointError, match=r"for clips of 16 frames of 224 x 224, got 4 of 32 x 32; .* \(frames 16, size 224\)"
    ):
        build_mae(source, GRID, seed=0)
    assert build_mae(source, TokenGrid(), seed=0).grid.num_tokens == 1568
