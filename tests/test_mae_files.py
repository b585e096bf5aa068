"""Whole MAEs in files of their own: out of a run, into another; and the one that is shipped."""

import re

import einops
import pytest
import torch
from safetensors.torch import save_file

from tats_gym.agents.config import PRESETS
from tats_gym.agents.training.measures.evaluation import held_out_for
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.encoders.shipped import SHIPPED
from tats_gym.export.mae import export_mae
from tats_gym.runs.checkpoint import CheckpointError
from tests.encoders import CONFIG, GRID, random_mae, write_run
from tests.runs import load_command, tiny_config, train


@pytest.fixture(name="run")
def _run(tmp_path):
    return write_run(tmp_path, random_mae())


def test_an_exported_mae_is_the_runs_to_the_bit(run, tmp_path, capsys):
    main = load_command("export").main
    assert main([str(run), "--format", "mae", "--out", str(tmp_path / "out")]) == 0
    assert f"--init-mae {tmp_path}/out" in capsys.readouterr().out
    (tmp_path / "renamed").mkdir()
    (tmp_path / "renamed" / "mine.safetensors").write_bytes((tmp_path / "out" / "mae.safetensors").read_bytes())
    for name in ("out", "out/mae.safetensors", "renamed"):
        found = MAESource.find(str(tmp_path / name))
        assert found.config == CONFIG
        built, own = build_mae(found, GRID, seed=0).state_dict(), random_mae().state_dict()
        assert all(torch.equal(built[key], own[key]) for key in own)
        encoder, of_run = EncoderSource.find(tmp_path / name), EncoderSource.find(run)
        assert all(torch.equal(encoder.weights[key], of_run.weights[key]) for key in of_run.weights)
        assert encoder.shared_origin == of_run.shared_origin


def test_halves_differ_by_their_rounding_alone(run, tmp_path):
    (file,) = export_mae(run, "mae", tmp_path / "half", half=True)
    (whole,) = export_mae(run, "mae", tmp_path / "whole")
    (tmp_path / "plain").touch()
    assert (
        file.stat().st_mode == (tmp_path / "plain").stat().st_mode
    )  # others can read it as far as the umask lets them
    assert file.stat().st_size < 0.6 * whole.stat().st_size
    own = random_mae().state_dict()
    for key, value in MAESource.find(str(file)).weights.items():
        assert value.dtype == torch.float32
        assert ((value - own[key]).abs() <= own[key].abs() * 2**-11 + 2**-25).all()  # float16: 10 bits, smallest 2^-24


def test_halves_are_for_maes(run, tmp_path, capsys):
    main = load_command("export").main
    with pytest.raises(SystemExit):
        main([str(run), "--format", "hf", "--half", "--out", str(tmp_path / "out")])
    assert "half is for format mae, got hf" in capsys.readouterr().err


def test_a_run_starts_from_an_exported_mae(clips_root, tmp_path):
    first, result = train(tiny_config(clips_root, tmp_path))
    export_mae(result.folder, "mae", tmp_path / "mae")
    second, _ = train(tiny_config(clips_root, tmp_path, init_mae=str(tmp_path / "mae"), train_mae=False))
    before, after = first.mae.state_dict(), second.mae.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_sampler_is_no_mae(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"tats_gym": '{"sampler": {}}'})
    with pytest.raises(CheckpointError, match=r"is an exported sampler, not .* an exported MAE"):
        MAESource.find(str(tmp_path / "a.safetensors"))


def test_an_mae_without_a_description_must_show_its_heads(run, tmp_path):
    (file,) = export_mae(run, "mae", tmp_path / "out")
    save_file(MAESource.find(str(file)).weights, tmp_path / "bare.safetensors")
    with pytest.raises(CheckpointError, match=r"bare.safetensors.* how many heads its decoder has, nor .* width 12"):
        MAESource.find(str(tmp_path / "bare.safetensors"))


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ValueError, match=re.escape("--init-mae must be one of tiny, small, base")) as caught:
        MAESource.find("dem", "--init-mae")
    assert "did you mean 'demo'?" in str(caught.value)


def test_the_shipped_mae_is_an_encoder_too():
    whole, encoder = MAESource.find("demo").weights, EncoderSource.find("demo")
    own = {name: value for name, value in whole.items() if name in encoder.weights}
    assert len(own) > 30
    assert all(torch.equal(value, encoder.weights[name]) for name, value in own.items())


def test_the_shipped_mae_leaves_less_than_half_of_the_variance_of_held_out_clips(demo_root):
    assert SHIPPED["demo"].stat().st_size < 3e6
    config = PRESETS["demo"]
    mae = build_mae(MAESource.find("demo"), config.grid, seed=0)
    held_out = held_out_for(config, mae, num_masks=1)
    tubelets = held_out.clips.numpy() / 255
    tubelets = einops.rearrange(tubelets, "b c (t p) (h q) (w r) -> b (t h w) (p q r) c", p=2, q=8, r=8)
    deviation = tubelets.std(axis=2, ddof=1, keepdims=True)
    variance = ((tubelets - tubelets.mean(axis=2, keepdims=True)) / (deviation + 1e-6)) ** 2
    assert held_out.errors(held_out.random_ids_keep).mean().item() < 0.5 * variance.mean()
