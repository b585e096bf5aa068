"""Runs that start from an MAE of another program: frozen and joint, resumed, and told on the command line."""

import json
import logging
from dataclasses import replace

import gymnasium
import pytest
import torch

from tats_gym.agents.experiments.trials.trial import ROW, Trial, run_trials
from tats_gym.agents.training.resume import begin_or_resume, resume
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.runs.checkpoint import load_checkpoint
from tats_gym.train.distributed import Ranks
from tests.encoders import GRID, normalised
from tests.maes import ARCHITECTURE, SIZES, published_weights, transformers_mae, write_published
from tests.runs import load_command, tiny_config, train


@pytest.fixture(name="published")
def _published(tmp_path):
    write_published(tmp_path / "published.pth", published_weights(**SIZES))
    return tmp_path / "published.pth"


@pytest.mark.parametrize("train_mae", [False, True])
def test_a_run_goes_on_with_a_published_mae(clips_root, tmp_path, published, train_mae):
    config = tiny_config(clips_root, tmp_path / "runs", init_mae=str(published), train_mae=train_mae)
    run, result = train(config)
    assert json.loads((result.folder / "config.json").read_text())["config"]["mae"]["decoder_depth"] == 3
    state = load_checkpoint(result.folder)
    same = [name for name, value in published_weights(**SIZES).items() if torch.equal(state["mae"][name], value)]
    assert len(same) == (0 if train_mae else len(state["mae"]))
    assert run.optimizer.steps == (8 if train_mae else 0)
    published.unlink()
    again = resume(result.folder)
    assert again.mae.config == ARCHITECTURE
    again.close()
    assert config.mae != ARCHITECTURE  # the same command again, whose settings have other sizes
    again = begin_or_resume(result.folder, config, Ranks.alone("cpu"))
    assert again.config.mae == again.mae.config == ARCHITECTURE
    assert all(torch.equal(value, state["mae"][name]) for name, value in again.mae.state_dict().items())
    again.close()


def test_an_environment_takes_a_transformers_folder(clips_root, tmp_path):
    model = transformers_mae()
    model.save_pretrained(tmp_path / "hf")
    settings = {"root": str(clips_root), "frames": 4, "size": 32, "visible": 3, "stride": 1, "num_workers": 0}
    settings |= {"patch_size": 16, "device": "cpu", "num_envs": 2}
    given = gymnasium.make_vec("TatsMask-folder-v0", mae=str(tmp_path / "hf"), **settings).unwrapped
    attached = gymnasium.make_vec("TatsMask-folder-v0", **settings).unwrapped
    attached.attach(build_mae(MAESource.find(str(tmp_path / "hf")), GRID, seed=0))
    ids = torch.tensor([[0, 3, 6], [1, 2, 7]])
    errors = []
    for env in (given, attached):
        env.restart(seed=0)
        assert env.observe().shape == (2, 8, 128)
        clips = env.clip_buffer.pixels
        errors.append(env.step_tensors(ids).errors)
        env.close()
    assert torch.equal(*errors)
    mask = torch.ones(2, 8, dtype=torch.bool).scatter(1, ids, False)
    with torch.no_grad():
        loss = model(normalised(clips).transpose(1, 2), bool_masked_pos=mask).loss
    torch.testing.assert_close(errors[0][mask].mean(), loss, atol=1e-5, rtol=1e-5)


WORDS = ["--env", "TatsMask-folder-v0"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--mae.embed-dim", "64"], r"--mae\.embed-dim 64 contradicts --init-mae .*, whose MAE has embed_dim 128"),
        (["--mae.depth=4", "--mae.pos-embed", "learned"], r"--mae.depth 4, --mae.pos-embed learned contradicts"),
        (["--mae.decoder-depth", "2"], r"--mae.decoder-depth 2 .* decoder_depth 3; leave .* by --init-mae None"),
    ],
)
def test_settings_that_contradict_the_mae_are_refused_by_name(published, given, message):
    with pytest.raises(ValueError, match=message):
        load_command("train").parse([*WORDS, "--init-mae", str(published), *given])


def test_settings_of_a_file_count_and_those_of_a_run_do_not(clips_root, tmp_path, published):
    parse = load_command("train").parse
    file = tmp_path / "own.json"
    file.write_text(json.dumps({"mae": {"depth": 4}, "init_mae": str(published)}))
    with pytest.raises(ValueError, match=r"--mae\.depth 4 contradicts"):
        parse([*WORDS, "--config", str(file)])
    _, result = train(tiny_config(clips_root, tmp_path / "runs"))
    config = parse(["--config", str(result.folder / "config.json"), "--init-mae", str(published)]).config
    assert config.mae.depth == 1  # replaced when the run is built


def test_settings_that_agree_or_describe_a_new_decoder_are_taken(tmp_path, published):
    parse = load_command("train").parse
    agreeing = ["--mae.depth", "2", "--mae.decoder-num-heads", "1"]
    assert parse([*WORDS, "--init-mae", str(published), *agreeing]).config.mae.depth == 2
    encoder = {name: value for name, value in published_weights(**SIZES).items() if name.startswith("encoder.")}
    write_published(tmp_path / "encoder.pth", encoder)
    parse([*WORDS, "--init-mae", str(tmp_path / "encoder.pth"), "--mae.decoder-depth", "1"])
    with pytest.raises(ValueError, match=r"--mae.depth 1 contradicts"):
        parse([*WORDS, "--init-mae", str(tmp_path / "encoder.pth"), "--mae.depth", "1"])
    parse([*WORDS, "--init-mae", "None", "--mae.depth", "1"])


def test_a_run_that_goes_on_keeps_the_sizes_with_which_it_began(clips_root, tmp_path, published):
    config = tiny_config(clips_root, tmp_path / "runs", init_mae=str(published))
    _, result = train(config)
    published.unlink()
    parse = load_command("train").parse
    for way in (
        ["--resume", str(result.folder)],
        [*WORDS, "--init-mae", str(published), "--folder", str(result.folder)],
    ):
        parse([*way, "--mae.depth", "2"])
        with pytest.raises(ValueError, match=r"--mae.depth 4 contradicts .* depth 2; leave it out$"):
            parse([*way, "--mae.depth", "4"])


def test_comparisons_refuse_contradictions_too(published):
    main = load_command("compare").main
    assert main([*WORDS, "--base.init-mae", str(published), "--base.mae.depth", "4"]) == 1


def test_a_trial_from_a_published_mae_is_known_again(clips_root, tmp_path, published):
    trial = Trial(tiny_config(clips_root, tmp_path, init_mae=str(published)), tmp_path / "trial")
    run_trials([trial], jobs=1)
    written = (trial.folder / ROW).stat().st_mtime_ns
    run_trials([trial], jobs=1)
    assert (trial.folder / ROW).stat().st_mtime_ns == written


@pytest.mark.parametrize("pos_embed", ["learned", "sinusoid"])
def test_a_run_says_at_its_start_where_its_mae_cannot_go(clips_root, tmp_path, monkeypatch, caplog, pos_embed):
    from tats_gym.agents.training import train as command

    config = tiny_config(clips_root, tmp_path)
    config = replace(config, mae=replace(config.mae, pos_embed=pos_embed))
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("tats_gym.agents.training.pretraining.Pretraining.run", _stop)
    with pytest.raises(KeyboardInterrupt):
        command.train(config)
    told = "position embeddings are learned: it cannot be exported to transformers" in caplog.text
    assert told == (pos_embed == "learned")
    assert ("--mae.pos-embed sinusoid" in caplog.text) == told


def _stop(run):
    raise KeyboardInterrupt
