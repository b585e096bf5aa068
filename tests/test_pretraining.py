"""A whole run, and its files."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.training.joint_training import JointTraining
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.envs import TokenSelectionVecEnv
from tats_gym.model.videomae import MAE_PRESETS
from tats_gym.runs.checkpoint import CheckpointError, load_checkpoint
from tats_gym.tokens import TokenGrid
from tats_gym.train.nonfinite import NonFiniteError
from tests.runs import rows, tiny_config, train


def test_a_run_leaves_everything_behind(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    run, result = train(config)
    assert result.finished
    assert run.agent.num_timesteps == 32
    assert run.optimizer.steps == 8
    assert run.agent._n_updates == 6  # two of the eight rollouts were the warm-up's

    record = json.loads((result.folder / "config.json").read_text())
    assert record["seed"] == 0
    assert set(record["versions"]) >= {"python", "torch", "gymnasium", "stable-baselines3"}
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["machine"]["processor"]
    needed = replace(config, action="ids", masks_per_clip=1, visible_spread=0.0)  # by tats
    assert PretrainConfig.from_dict(record["config"]) == needed

    logged = rows(result.folder)
    assert [row["step"] for row in logged if "mae/loss" in row] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert [row["step"] for row in logged if "held_out/gain" in row] == [0, 16, 32]
    wanted = {
        "mae/loss", "mae/learning_rate", "mae/grad_norm", "mae/skipped_steps", "sampler/skipped_steps",
        "rollout/reward", "time/masks_per_s", "time/data_wait_share",
        "time/peak_memory_mib", "held_out/error_own", "held_out/error_random", "held_out/gain", "sampler/entropy_share",
        "sampler/logit_deviation", "sampler/never_chosen", "sampler/value_error", "train/approx_kl",
        "train/clip_fraction", "train/inverse_temperature", "train/learning_rate",
    }  # fmt: skip
    seen = {key for row in logged for key in row}
    assert wanted <= seen, wanted - seen
    assert logged[-1]["held_out/gain"] == pytest.approx(result.metrics.gain)

    events = EventAccumulator(str(result.folder)).Reload()
    assert wanted <= set(events.Tags()["scalars"])
    assert {"masks/clip0", "masks/chosen"} <= set(events.Tags()["images"])
    assert result.picture.stat().st_size > 10_000
    assert len(list((result.folder / "checkpoints").iterdir())) == 2


def test_a_sampler_can_learn_alone_under_the_mae_of_another_run(clips_root, tmp_path):
    _, first = train(tiny_config(clips_root, tmp_path))
    config = tiny_config(clips_root, tmp_path, init_mae=str(first.folder), train_mae=False)
    run, result = train(config)
    before = load_checkpoint(first.folder)["mae"]
    after = load_checkpoint(result.folder)["mae"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.optimizer.steps == 0
    assert run.agent._n_updates == 6
    assert "mae/loss" in rows(result.folder)[1]
    shutil.rmtree(first.folder)
    resume(result.folder).close()  # a resumed run brings its own weights


def test_a_run_takes_the_sizes_of_the_mae_that_it_starts_from(clips_root, tmp_path):
    first, _ = train(tiny_config(clips_root, tmp_path))
    config = tiny_config(clips_root, tmp_path, init_mae=str(first.folder), mae=MAE_PRESETS["tiny"])
    run, result = train(config)
    assert run.mae.config == first.config.mae != MAE_PRESETS["tiny"]
    recorded = json.loads((result.folder / "config.json").read_text())["config"]
    assert PretrainConfig.from_dict(recorded).mae == first.config.mae
    assert load_checkpoint(result.folder)["mae_config"]["embed_dim"] == 64


def test_an_mae_of_another_geometry_is_no_start(clips_root, tmp_path):
    _, first = train(tiny_config(clips_root, tmp_path))
    config = tiny_config(clips_root, tmp_path, init_mae=str(first.folder))
    with pytest.raises(
        CheckpointError, match=rf"{first.folder}: .* must have the shape .* for TokenGrid\(.*, got .* None starts"
    ):
        Pretraining(replace(config, grid=replace(config.grid, tubelet_size=1)))


def test_the_mae_learns(clips_root, tmp_path):
    base = tiny_config(clips_root, tmp_path)
    config = replace(base, mae_optim=replace(base.mae_optim, epochs=40), eval_interval=10_000)
    _, result = train(config)
    losses = [row["mae/loss"] for row in rows(result.folder) if "mae/loss" in row]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])


def test_a_run_may_predict_half_and_keep_less(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, decode_ratio=0.5, recompute=True, reward="gain")
    run = Pretraining(config)
    assert run.run().finished
    assert run.vector_env.config.decode_ratio == 0.5
    assert run.mae.encoder.recompute
    assert run.mae.decoder.recompute
    outcome = run.vector_env.step_tensors(torch.arange(3).expand(4, 3))
    run.close()
    assert outcome.predicted.sum(1).tolist() == [2] * 4  # of the five that are hidden, rounded to even


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(clips_root, tmp_path, monkeypatch):
    def explode_at_5(self, step=JointTraining._on_step):
        if self.optimizer.steps == 5:
            self.env.vector_env.loss *= float("nan")
        return step(self)

    monkeypatch.setattr(JointTraining, "_on_step", explode_at_5)
    run = Pretraining(tiny_config(clips_root, tmp_path))
    with pytest.raises(NonFiniteError, match="the MAE's loss is nan at timestep 24"):
        run.run()
    run.close()
    state = load_checkpoint(run.folder)
    assert state["step"] == 16
    assert all(torch.isfinite(value).all() for value in state["mae"].values())
    assert not run.vector_env.keep_graph


@pytest.mark.parametrize("part", ["MAE", "agent"])
def test_weights_that_are_not_finite_are_not_saved(clips_root, tmp_path, part):
    run, result = train(tiny_config(clips_root, tmp_path))
    module = run.mae if part == "MAE" else run.agent.policy
    before = sorted((result.folder / "checkpoints").iterdir())
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(NonFiniteError, match=f"weights of the {part} are not finite at timestep 32"):
        run.save()
    assert sorted((result.folder / "checkpoints").iterdir()) == before


def test_one_forward_and_one_backward_a_clip(clips_root, tmp_path, monkeypatch):
    run = Pretraining(tiny_config(clips_root, tmp_path, eval_interval=10_000))
    counts = {"forward": 0, "backward": 0}
    run.mae.register_forward_hook(lambda *_: counts.__setitem__("forward", counts["forward"] + 1))
    run.mae.register_full_backward_pre_hook(lambda *_: counts.__setitem__("backward", counts["backward"] + 1))
    measured = []
    monkeypatch.setattr(JointTraining, "_on_training_start", _counted(JointTraining, counts, measured))
    run.run()
    run.close()
    during = counts["forward"] - measured[0]
    # Eight environment steps, and a measurement before and after: own, others' and random masks, and the picture.
    assert during == 8 + 2 * 4
    assert counts["backward"] == 8


def _counted(owner, counts, measured, start=JointTraining._on_training_start):
    def record(self):
        start(self)
        measured.append(counts["forward"])

    return record


@pytest.mark.parametrize("agent", ["tats", "group", "adamae", "sac"])
def test_bf16_trains_weights_that_stay_in_fp32(agent, clips_root, tmp_path):
    config = tiny_config(
        clips_root, tmp_path, agent=agent, precision="bf16", grid=TokenGrid(frames=20, size=32, visible=4)
    )
    run = Pretraining(config)
    before = [parameter.clone() for parameter in run.agent.policy.parameters()]
    run.run()
    run.close()
    after = list(run.agent.policy.parameters())
    assert not all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert {parameter.dtype for parameter in (*after, *run.mae.parameters())} == {torch.float32}
    assert all(parameter.isfinite().all() for parameter in after)


def test_an_mae_that_does_not_learn_is_asked_once_for_an_observation(clips_root, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(TokenSelectionVecEnv, "refresh", lambda env: asked.append(env))
    train(tiny_config(clips_root, tmp_path, agent="ppo", train_mae=False))
    assert not asked


def test_an_mae_to_start_from_is_found_from_any_folder(clips_root, tmp_path, monkeypatch):
    (tmp_path / "mae").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    config = tiny_config(clips_root, tmp_path)
    assert replace(config, init_mae="~/mae").init_mae == str(tmp_path / "mae")
    monkeypatch.chdir(tmp_path)
    assert replace(config, init_mae="mae").init_mae == str(tmp_path / "mae")
    assert replace(config, init_mae="small").init_mae == "small"  # a preset
    assert replace(config, init_mae="smal").init_mae == "smal"  # is refused by that name
