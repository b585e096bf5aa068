"""`tats-gym train --own-mae module:function`: another package's MAE is trained, saved, resumed, measured and drawn."""

import itertools
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from tats_gym import contracts
from tats_gym.agents.config import PRESETS
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.trained.pictures import PictureConfig, draw
from tats_gym.agents.training.command_line import command_for
from tats_gym.agents.training.measures.evaluation import held_out_for
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.commands.compare import main as compare
from tats_gym.commands.export import main as export
from tats_gym.commands.train import main, parse
from tats_gym.encoders.find import EncoderSource
from tats_gym.encoders.mae import MAESource
from tats_gym.figures.masks import ClipMasks, Scales, figure_rows
from tats_gym.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from tats_gym.runs.folder import begin_run, read_record
from tats_gym.runs.kinds import PRETRAINING, kind_of
from tests.own_maes import Means
from tests.runs import rows, tiny_config, train, words_of

MODULE = "tests.own_maes"
NAME, DROPPING = f"{MODULE}:Means", f"{MODULE}:Dropping"


def _config(clips_root, out, name=NAME, **changes):
    config = tiny_config(clips_root, out)
    return replace(config, own_mae=name, sampler=replace(config.sampler, width=64), **changes)


def _weights(run):
    return run.mae.state_dict() | {f"agent.{name}": value for name, value in run.agent.policy.state_dict().items()}


def _same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _answer(words, capsys, command=main):
    return words_of(command, words, capsys, codes=(1, 2))


def test_its_training_is_the_loop_that_one_would_write_by_hand(clips_root, tmp_path):
    config = _config(clips_root, tmp_path, seed=3)
    optim = replace(config.mae_optim, epochs=2, warmup_epochs=0, base_lr=1.0, min_lr=1.0, weight_decay=0.1)
    run, _ = train(replace(config, mae_optim=optim, tats=replace(config.tats, warmup_epochs=0)))
    assert len(run.mae.calls) == run.optimizer.steps == 4
    torch.manual_seed(3)
    mine = Means(config.grid)
    rate = 1.0 * 4 / 256  # four masks a step, against the reference batch
    groups = [
        {"params": mine.read.parameters(), "lr": rate / 2, "weight_decay": 0.1},
        {"params": mine.write.parameters(), "lr": rate, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, betas=optim.betas)
    for clips, ids_keep in run.mae.calls:
        found = mine(clips, ids_keep)
        adamw.zero_grad()
        (found.pred - found.target).square().mean().backward()
        adamw.step()
    for name, weights in mine.state_dict().items():
        assert torch.allclose(weights, run.mae.state_dict()[name], atol=1e-6), name


def test_a_run_that_was_stopped_ends_with_the_same_bits(clips_root, tmp_path):
    whole, _ = train(_config(clips_root, tmp_path, DROPPING))
    stopped, result = train(_config(clips_root, tmp_path, DROPPING))
    assert _same(_weights(whole), _weights(stopped))
    latest_checkpoint(result.folder).unlink()
    again = resume(result.folder)
    assert 0 < again.step < whole.step
    assert not _same(_weights(whole), _weights(again))
    again.run()
    again.close()
    assert _same(_weights(whole), _weights(again))
    assert again.mae.steps == 8
    optims = [run.optimizer.state_dict()["adamw"]["state"] for run in (whole, again)]
    assert all(_same(optims[0][key], optims[1][key]) for key in optims[0])


def test_a_frozen_one_stays_as_its_function_or_another_run_made_it(clips_root, tmp_path):
    config = _config(clips_root, tmp_path, seed=5)
    frozen, _ = train(replace(config, train_mae=False))
    torch.manual_seed(5)
    assert _same(frozen.mae.state_dict(), Means(config.grid).state_dict())
    trained, result = train(config)
    assert not _same(frozen.mae.state_dict(), trained.mae.state_dict())
    later, _ = train(replace(config, init_mae=str(result.folder), train_mae=False))
    assert _same(later.mae.state_dict(), trained.mae.state_dict())
    with pytest.raises(CheckpointError, match=r"of .*:Means: weights are missing: 'steps'"):
        Pretraining(replace(config, own_mae=DROPPING, init_mae=str(result.folder)))
    _, ours = train(tiny_config(clips_root, tmp_path))
    with pytest.raises(CheckpointError, match="is no run with --own-mae"):
        Pretraining(replace(config, init_mae=str(ours.folder)))


def test_it_is_measured_without_dropout_and_trains_on_with_it(clips_root, tmp_path):
    run = Pretraining(_config(clips_root, tmp_path, DROPPING))
    held_out = held_out_for(run.config, run.mae, num_masks=1)
    errors = held_out.errors(held_out.random_ids_keep)
    clips, ids = held_out.clips, held_out.random_ids_keep[0]
    alone = Means(run.config.grid)  # has no dropout
    alone.load_state_dict(run.mae.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(errors[0], alone(clips, ids).errors.mean(1))
    assert (run.mae.training, run.mae.dropout.training, run.mae.frozen.training) == (True, True, False)
    run.close()


def test_it_is_told_each_step_and_its_numbers_are_logged(clips_root, tmp_path):
    config = _config(clips_root, tmp_path, f"{MODULE}:Told")
    run, result = train(replace(config, mae_optim=replace(config.mae_optim, accumulate=2)))
    progress, weights = zip(*run.mae.told, strict=True)
    assert progress == (0, 0.25, 0.5, 0.75)  # 8 steps of four masks, two for each of the optimiser's
    assert all(not torch.equal(one, two) for one, two in itertools.pairwise(weights))
    assert torch.equal(weights[-1], run.mae.read.weight)
    assert [row["mae/told"] for row in rows(result.folder) if "mae/told" in row][-1] == 4


def test_going_on_with_another_mae_is_refused(clips_root, tmp_path):
    _, result = train(_config(clips_root, tmp_path))
    with pytest.raises(CheckpointError, match=rf"\(own_mae '{NAME}' -> '{DROPPING}'\)"):
        resume(result.folder, replace(result.config, own_mae=DROPPING))
    with pytest.raises(CheckpointError, match=rf"\(own_mae '{NAME}' -> None\)"):
        resume(result.folder, replace(result.config, own_mae=None))


def test_a_file_of_a_run_imports_no_mae(clips_root, tmp_path, capsys):
    begin_run(tmp_path / "run", tiny_config(clips_root, tmp_path).as_dict() | {"own_mae": "crafted_mae:build"})
    for words in (["--config", str(tmp_path / "run" / "config.json")], ["--resume", str(tmp_path / "run")]):
        assert "give --own-mae crafted_mae:build to allow it" in _answer(words, capsys)
    _, result = train(_config(clips_root, tmp_path))
    picture = PictureConfig(run=result.folder, out=tmp_path / "pictures", clips=1, forms=("png", "gif"), device="cpu")
    with pytest.raises(ValueError, match=rf"give --own-mae {NAME} to allow it"):
        next(draw(picture))
    told = list(draw(replace(picture, own_mae=(NAME,))))
    assert [Path(each).suffix for each in told[:2]] == [".png", ".gif"]
    assert "crafted_mae" not in sys.modules


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mae.depth", "3"], f"--mae.depth is of tats_gym's MAE, but --own-mae {NAME} takes its place; leave one"),
        (["--recompute"], "recompute is for blocks of tats_gym's MAE"),
        (["--init-mae", "demo"], "init_mae 'demo' is of another architecture .* by --init-mae None"),
        (["--own-mae", f"{MODULE}:Meens"], "--own-mae .*: there is no 'Meens' to import"),
        (["--own-mae", "base"], "own_mae must be module:function, got 'base'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_the_way_out(capsys, words, message):
    base = ["--env", "TatsMask-folder-v0", "--own-mae", NAME]
    assert re.search(message, _answer([*base, *words], capsys))


def test_settings_of_our_mae_in_a_file_are_refused_beside_it(tmp_path, capsys):
    path = tmp_path / "settings.json"
    path.write_text('{"mae": {"depth": 3}}')
    words = ["--env", "TatsMask-folder-v0", "--config", str(path), "--own-mae", NAME]
    assert f"mae in {path} is of tats_gym's MAE" in _answer(words, capsys)


def test_a_comparison_refuses_it_before_its_runs(capsys):
    words = ["--env", "TatsMask-folder-v0", "--base.own-mae", NAME]
    assert "--base.own-mae is not to be given here" in _answer(words, capsys, compare)


def test_the_command_gives_its_settings_back():
    config = replace(PRESETS["paper-ssv2"], own_mae=NAME)
    command = command_for(config)
    assert f"--own-mae {NAME}" in command
    assert "--mae." not in command
    assert parse(command.split()[2:]).config == config


def test_a_function_that_makes_no_such_model_is_told(clips_root, tmp_path):
    with pytest.raises(TypeError, match=r"--own-mae .*:no_model must make a MaskedModel, got a Linear without grid"):
        Pretraining(_config(clips_root, tmp_path, f"{MODULE}:no_model"))
    with pytest.raises(ValueError, match="must make a model with weights to train, got one without"):
        Pretraining(_config(clips_root, tmp_path, f"{MODULE}:no_weights"))


def test_exports_of_our_architecture_refuse_it_and_say_where_its_weights_are(clips_root, tmp_path, capsys):
    run, result = train(_config(clips_root, tmp_path))
    assert read_record(result.folder)["config"]["own_mae"] == NAME
    assert kind_of(latest_checkpoint(result.folder)) is PRETRAINING
    where = r"load_checkpoint\(RUN\)\['mae'\]"
    with pytest.raises(CheckpointError, match=where):
        EncoderSource.find(result.folder)
    with pytest.raises(CheckpointError, match=where):
        MAESource.find(str(result.folder))
    for form in ("hf", "mae", "sampler"):
        told = _answer([str(result.folder), "--format", form, "--out", str(tmp_path / form)], capsys, export)
        assert re.search(where, told)
    assert _same(load_checkpoint(result.folder)["mae"], run.mae.state_dict())
    masks = ["--format", "masks", "--out", str(tmp_path / "masks")]
    assert f"give --own-mae {NAME} to allow it" in _answer([str(result.folder), *masks], capsys, export)
    assert export([str(result.folder), *masks, "--own-mae", NAME]) == 0
    loaded = SavedRun.read(result.folder).agent(result.config.clips, device="cpu")
    assert _same(loaded.mae.state_dict(), run.mae.state_dict())
    assert not loaded.mae.training


def test_pictures_leave_out_a_reconstruction_that_is_no_pixels(clips_root, tmp_path):
    mae = Means(tiny_config(clips_root, tmp_path).grid)
    clips = torch.randint(256, (2, *mae.grid.clip_shape), dtype=torch.uint8)
    seen = [ClipMasks("mine", mae(clips, torch.tensor([[0, 1, 2], [3, 4, 5]])))]
    labels = [row.label.split("\n")[0] for row in figure_rows(mae.grid, clips, seen, 0, Scales.of(seen))]
    assert labels == ["frames", "error", "visible tokens"]


def test_an_environment_builds_it_under_its_seed(clips_root):
    place = {"root": str(clips_root), "stride": 1, "frames": 4, "size": 32, "visible": 3, "device": "cpu"}
    env = gymnasium.make_vec("TatsMask-folder-v0", num_envs=1, mae=NAME, mae_seed=4, render_mode="rgb_array", **place)
    before = torch.get_rng_state()
    tokens, _ = env.reset(seed=0)
    torch.manual_seed(4)
    mine = Means(env.unwrapped.grid)
    torch.set_rng_state(before)
    expected = mine.embed(env.unwrapped.clip_buffer.pixels)
    assert np.array_equal(tokens, expected.numpy())
    env.step(env.action_space.sample())
    assert env.render()[0].ndim == 3
    env.close()


def test_the_contract_names_the_weights_that_parameter_groups_lack(demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    contracts.check_mae(Means)
    for groups in (
        lambda self, decay: [{"params": [self.read.weight]}],
        lambda self, decay: [{"params": list(self.parameters())}, {"params": [self.read.bias]}],
    ):
        monkeypatch.setattr(Means, "parameter_groups", groups)
        with pytest.raises(AssertionError, match="parameter_groups must hold each trained weight once"):
            contracts.check_mae(Means)


def test_the_contract_tells_masks_of_one_clip_that_depend_on_each_other(demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    monkeypatch.setattr(Means, "hide", lambda self, values: values - values.mean(0))
    with pytest.raises(AssertionError, match="errors of G masks of a clip must be those of each mask alone"):
        contracts.check_mae(Means)


def test_our_settings_of_the_mae_are_unused_beside_it():
    config = replace(PRESETS["folder"], own_mae=NAME)
    assert asdict(config.mae) == asdict(PRESETS["paper-ssv2"].mae)  # the defaults
