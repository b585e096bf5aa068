"""A whole run: what it leaves behind, and that going on is the same as never having stopped."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents import AGENTS
from agents.callbacks import JointTraining
from agents.config import config_from_dict
from agents.fixed import FixedMasks
from agents.pretraining import Pretraining, begin_or_resume, resume, run_config
from envs import TokenSelectionVecEnv
from tats_gym.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint, save_checkpoint
from tats_gym.distributed import Ranks
from tats_gym.finite import NonFiniteError
from tats_gym.mae import MAE_PRESETS
from tats_gym.optimisation import Optimizer
from tats_gym.run_lock import RunLock
from tats_gym.runs import read_config
from tats_gym.tokens import TokenGrid
from tests.runs import tiny_config
from tests.test_sb3 import MeanToken


def _train(config):
    run = Pretraining(config)
    result = run.run()
    run.close()
    return run, result


def _rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_leaves_everything_behind(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    run, result = _train(config)
    assert result.finished
    assert run.agent.num_timesteps == 32
    assert run.optimizer.steps == 8
    assert run.agent._n_updates == 6  # two of the eight rollouts were the warm-up's

    record = json.loads((result.folder / "config.json").read_text())
    assert record["seed"] == 0
    assert set(record["versions"]) >= {"python", "torch", "gymnasium", "stable-baselines3"}
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["machine"]["processor"]
    assert config_from_dict(record["config"]) == replace(config, action="ids", masks_per_clip=1)  # as tats needs

    rows = _rows(result.folder)
    assert [row["step"] for row in rows if "mae/loss" in row] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert [row["step"] for row in rows if "held_out/gain" in row] == [0, 16, 32]
    wanted = {
        "mae/loss", "mae/learning_rate", "mae/grad_norm", "mae/skipped_steps", "sampler/skipped_steps",
        "rollout/reward", "time/clips_per_s", "time/data_wait_share",
        "time/peak_memory_mib", "held_out/error_own", "held_out/error_random", "held_out/gain", "sampler/entropy_share",
        "sampler/logit_deviation", "sampler/never_chosen", "sampler/value_error", "train/approx_kl",
        "train/clip_fraction", "train/learning_rate",
    }  # fmt: skip
    seen = {key for row in rows for key in row}
    assert wanted <= seen, wanted - seen
    assert rows[-1]["held_out/gain"] == pytest.approx(result.scores.gain)

    events = EventAccumulator(str(result.folder)).Reload()
    assert wanted <= set(events.Tags()["scalars"])
    assert {"masks/clip0", "masks/chosen"} <= set(events.Tags()["images"])
    assert result.picture.stat().st_size > 10_000
    assert len(list((result.folder / "checkpoints").iterdir())) == 2


def test_a_sampler_can_learn_alone_under_the_mae_of_another_run(clips_root, tmp_path):
    _, first = _train(tiny_config(clips_root, tmp_path))
    config = tiny_config(clips_root, tmp_path, init_mae=str(first.folder), train_mae=False)
    run, result = _train(config)
    before = load_checkpoint(first.folder)["mae"]
    after = load_checkpoint(result.folder)["mae"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.optimizer.steps == 0
    assert run.agent._n_updates == 6
    assert "mae/loss" in _rows(result.folder)[1]
    shutil.rmtree(first.folder)
    resume(result.folder).close()  # a resumed run brings its own weights


def test_an_mae_of_another_size_is_no_start(clips_root, tmp_path):
    _, first = _train(tiny_config(clips_root, tmp_path))
    config = tiny_config(clips_root, tmp_path, init_mae=str(first.folder), mae=MAE_PRESETS["tiny"])
    with pytest.raises(ValueError, match=r"init_mae .* holds MAEConfig"):
        Pretraining(config)


def test_the_mae_learns(clips_root, tmp_path):
    base = tiny_config(clips_root, tmp_path)
    config = replace(base, mae_optim=replace(base.mae_optim, epochs=40), eval_interval=10_000)
    _, result = _train(config)
    rows = [row["mae/loss"] for row in _rows(result.folder) if "mae/loss" in row]
    assert sum(rows[-4:]) < 0.9 * sum(rows[:4])


def test_a_run_may_predict_half_and_keep_less(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, decode_ratio=0.5, recompute=True, reward="gain")
    run, result = _train(config)
    assert result.finished
    assert run.vector_env.config.decode_ratio == 0.5
    assert run.mae.encoder.recompute
    assert run.mae.decoder.recompute
    outcome = run.vector_env.step_tensors(torch.arange(3).expand(4, 3))
    assert outcome.mask.sum(1).tolist() == [2] * 4  # of the five that are hidden, rounded to even


@pytest.mark.parametrize(("agent", "workers"), [*((agent, 0) for agent in AGENTS), ("tats", 2)])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(clips_root, tmp_path, agent, workers, monkeypatch):
    config = tiny_config(clips_root, tmp_path, agent=agent, grid=TokenGrid(frames=4, size=32, visible=4))
    config = replace(config, clips=replace(config.clips, num_workers=workers), tats=replace(config.tats, n_steps=2))
    whole, _ = _train(config)

    def stop_at_16(self, loss, step=Optimizer.step):
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, loss)

    monkeypatch.setattr(Optimizer, "step", stop_at_16)
    before = signal.getsignal(signal.SIGINT)
    half, result = _train(config)
    monkeypatch.undo()
    assert not result.finished
    assert half.agent.num_timesteps == 16
    assert signal.getsignal(signal.SIGINT) is before

    again = resume(result.folder)
    assert again.run().finished
    again.close()
    for one, two in ((whole.mae, again.mae), (whole.agent.policy, again.agent.policy)):
        for (name, ours), (_, theirs) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
            assert torch.equal(ours, theirs), name
    assert again.optimizer.steps == 8
    assert again.agent._n_updates == whole.agent._n_updates > 0 or isinstance(whole.agent, FixedMasks)
    if isinstance(again.agent, OffPolicyAlgorithm):  # logs a step later, which may be after it was stopped
        return
    keys = ("step", "mae/loss", "held_out/gain")
    trace = [[{k: row.get(k) for k in keys} for row in _rows(folder)] for folder in (whole.folder, result.folder)]
    # The run measured where it stopped, and again where it went on; otherwise the rows are the same.
    assert [row for i, row in enumerate(trace[1]) if row in trace[0] and row not in trace[1][:i]] == trace[0]


def test_a_run_that_gathers_gradients_is_stopped_and_saved_after_a_whole_step(clips_root, tmp_path):
    base = tiny_config(clips_root, tmp_path, checkpoint_interval=4)
    config = replace(base, mae_optim=replace(base.mae_optim, accumulate=3))
    whole, _ = _train(config)
    run = Pretraining(config)
    saved, save = [], run.save
    run.save = lambda: (saved.append(run.agent.num_timesteps), save())
    step = run.optimizer.step

    def stop_at_first(loss):
        if not run.optimizer.steps and run.optimizer.at_rest:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(loss)

    run.optimizer.step = stop_at_first
    assert run.run().exit_code == 75
    run.close()
    assert saved == [12]
    again = resume(run.folder)
    assert again.run().finished
    again.close()
    for (name, ours), (_, theirs) in zip(whole.mae.state_dict().items(), again.mae.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs), name


def test_what_is_saved_at_the_end_is_not_cut_off_by_another_signal(clips_root, tmp_path, monkeypatch):
    run = Pretraining(tiny_config(clips_root, tmp_path))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def save_slowly(folder, step, state, save=save_checkpoint, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(folder, step, state, **settings)

    def stop_at_first(self, loss, step=Optimizer.step):
        os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, loss)

    monkeypatch.setattr("agents.pretraining.save_checkpoint", save_slowly)
    monkeypatch.setattr(Optimizer, "step", stop_at_first)
    try:
        result = run.run()
    finally:
        signal.signal(signal.SIGTERM, before)
        run.close()
    assert result.exit_code == 75
    assert load_checkpoint(run.folder)["step"] == 4


def test_whether_a_run_goes_on_is_decided_when_nobody_else_trains_there(clips_root, tmp_path, monkeypatch):
    _, result = _train(tiny_config(clips_root, tmp_path))
    folder = tmp_path / "other"

    class AnotherEndsMeanwhile(RunLock):
        def __init__(self, path):
            super().__init__(path)
            if not (path / "config.json").exists():
                shutil.copytree(result.folder, path, dirs_exist_ok=True)

    monkeypatch.setattr("agents.pretraining.RunLock", AnotherEndsMeanwhile)
    run = begin_or_resume(folder, run_config(result.folder), Ranks.alone("cpu"))
    assert run.agent.num_timesteps == 32
    assert _rows(folder)[-1]["step"] == 32
    run.close()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_checkpoint(clips_root, tmp_path, monkeypatch):
    def explode_at_5(self, loss, step=Optimizer.step):
        return step(self, loss * float("nan") if self.steps == 5 else loss)

    monkeypatch.setattr(Optimizer, "step", explode_at_5)
    run = Pretraining(tiny_config(clips_root, tmp_path))
    with pytest.raises(NonFiniteError, match="optimiser step 5"):
        run.run()
    run.close()
    state = load_checkpoint(run.folder)
    assert state["step"] == 16
    assert all(torch.isfinite(value).all() for value in state["mae"].values())
    assert not run.vector_env.keep_graph


@pytest.mark.parametrize("part", ["MAE", "agent"])
def test_weights_that_are_not_finite_are_not_saved(clips_root, tmp_path, part):
    run, result = _train(tiny_config(clips_root, tmp_path))
    module = run.mae if part == "MAE" else run.agent.policy
    before = sorted((result.folder / "checkpoints").iterdir())
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(NonFiniteError, match=f"weights of the {part} are not finite at environment step 32"):
        run.save()
    assert sorted((result.folder / "checkpoints").iterdir()) == before


def test_scores_drawn_before_anything_is_learned_go_on_too(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, agent="sac", checkpoint_interval=4, keep_checkpoints=9)
    config = replace(config, tats=replace(config.tats, warmup_epochs=2))
    whole, result = _train(config)
    for path in sorted((result.folder / "checkpoints").iterdir())[1:]:
        path.unlink()  # as if the run had been killed before they were written
    again = resume(result.folder)
    assert again.agent.num_timesteps == 4
    assert again.agent.replay_buffer.size() == 4
    again.run()
    again.close()
    states = [each.agent.replay_buffer.state_dict() for each in (whole, again)]
    assert states[0]["positions"].tolist() == list(range(22, 32))
    assert all(torch.equal(states[0][name], states[1][name]) for name in ("positions", "scores", "rewards"))
    assert whole.agent._n_updates == again.agent._n_updates == 4
    assert again.agent._episode_num == 32


def build_sac(env, config):
    kwargs = {"features_extractor_class": MeanToken}
    return SAC("MlpPolicy", env, policy_kwargs=kwargs, buffer_size=50, learning_starts=4, device="cpu")


def test_an_off_policy_agent_goes_on_with_its_own_variables(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, agent="tests.test_pretraining:build_sac", action="scores")
    run, result = _train(config)
    again = resume(result.folder)
    again.close()
    assert again.agent.log_ent_coef.item() == run.agent.log_ent_coef.item() != 0
    # Built without a seed, it still saw the clips of the run's.
    assert run.vector_env.hand.stream.seed == config.seed
    assert sum("mae/loss" in row for row in _rows(result.folder)) <= 8


def test_going_on_from_an_older_checkpoint_logs_each_step_once(clips_root, tmp_path):
    _, result = _train(tiny_config(clips_root, tmp_path))
    latest_checkpoint(result.folder).unlink()  # as if the run had been killed before it was written
    again = resume(result.folder)
    assert again.agent.num_timesteps == 24
    again.run()
    again.close()
    logged = EventAccumulator(str(result.folder)).Reload().Scalars("mae/loss")
    assert [event.step for event in logged] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert [row["step"] for row in _rows(result.folder) if "mae/loss" in row] == [4, 8, 12, 16, 20, 24, 28, 32]


def test_a_longer_run_remembers_that_it_is(clips_root, tmp_path):
    _, result = _train(tiny_config(clips_root, tmp_path))
    config = run_config(result.folder)
    run = resume(result.folder, replace(config, mae_optim=replace(config.mae_optim, epochs=6)))
    run.close()
    assert run_config(result.folder).mae_optim.epochs == 6
    assert run.total_timesteps == 48


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


def test_going_on_with_other_networks_is_refused(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    _, result = _train(config)
    with pytest.raises(CheckpointError, match="made with other networks than these settings describe"):
        resume(result.folder, replace(config, mae=replace(config.mae, depth=2)))
    with pytest.raises(CheckpointError, match="leave the sizes and the agent as they were"):
        resume(result.folder, replace(config, sampler=replace(config.sampler, critic="separate")))


def test_settings_survive_the_run_folder(clips_root, tmp_path):
    run = Pretraining(tiny_config(clips_root, tmp_path))
    run.close()
    assert config_from_dict(read_config(run.folder)) == run.config
    with pytest.raises(FileNotFoundError, match="did you mean"):
        read_config(run.folder.parent / "folder-tats-seed0-11")
    with pytest.raises(FileNotFoundError, match="holds no run"):
        resume(tmp_path / "nothing")


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
    _train(tiny_config(clips_root, tmp_path, agent="ppo", train_mae=False))
    assert not asked
