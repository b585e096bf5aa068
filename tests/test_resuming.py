"""Runs that were stopped go on as if they had not been."""

import json
import logging
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tats_gym.agents import AGENTS
from tats_gym.agents.peers.fixed import FixedMasks
from tats_gym.agents.training.command_line import run_config
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import begin_or_resume, resume
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from tats_gym.runs.lock import RunLock
from tats_gym.tokens import TokenGrid
from tats_gym.train.distributed import Ranks
from tats_gym.train.optimizer import ScheduledAdamW
from tests.runs import rows, tiny_config, train
from tests.soak.kills import differences
from tests.test_sb3 import MeanToken

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("agent", "workers"), [*((agent, 0) for agent in AGENTS), ("tats", 2)])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(clips_root, tmp_path, agent, workers, monkeypatch):
    config = tiny_config(clips_root, tmp_path, agent=agent, grid=TokenGrid(frames=4, size=32, visible=4))
    config = replace(config, clips=replace(config.clips, num_workers=workers), tats=replace(config.tats, n_steps=2))
    whole, _ = train(config)

    def stop_at_16(self, loss, step=ScheduledAdamW.step):
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, loss)

    monkeypatch.setattr(ScheduledAdamW, "step", stop_at_16)
    before = signal.getsignal(signal.SIGINT)
    half, result = train(config)
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
    trace = [[{k: row.get(k) for k in keys} for row in rows(folder)] for folder in (whole.folder, result.folder)]
    # The run measured where it stopped, and again where it went on; otherwise the rows are the same.
    assert [row for i, row in enumerate(trace[1]) if row in trace[0] and row not in trace[1][:i]] == trace[0]


def test_a_run_that_gathers_gradients_is_stopped_and_saved_after_a_whole_step(clips_root, tmp_path):
    base = tiny_config(clips_root, tmp_path, checkpoint_interval=4)
    config = replace(base, mae_optim=replace(base.mae_optim, accumulate=3))
    whole, _ = train(config)
    run = Pretraining(config)
    saved, save = [], run.save
    run.save = lambda: (saved.append(run.agent.num_timesteps), save())
    step = run.optimizer.step

    def stop_at_first(loss):
        if not run.optimizer.steps and run.optimizer.no_pending_gradients:
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


def test_saving_at_the_end_is_not_cut_off_by_another_signal(clips_root, tmp_path, monkeypatch):
    run = Pretraining(tiny_config(clips_root, tmp_path))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def save_slowly(folder, step, state, save=save_checkpoint, **settings):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(folder, step, state, **settings)

    def stop_at_first(self, loss, step=ScheduledAdamW.step):
        os.kill(os.getpid(), signal.SIGUSR1)
        return step(self, loss)

    monkeypatch.setattr("tats_gym.agents.training.pretraining.save_checkpoint", save_slowly)
    monkeypatch.setattr(ScheduledAdamW, "step", stop_at_first)
    try:
        result = run.run()
    finally:
        signal.signal(signal.SIGTERM, before)
        run.close()
    assert result.exit_code == 75
    assert load_checkpoint(run.folder)["step"] == 4


def test_whether_a_run_goes_on_is_decided_when_no_other_process_trains_there(clips_root, tmp_path, monkeypatch):
    _, result = train(tiny_config(clips_root, tmp_path))
    folder = tmp_path / "other"

    class AnotherEndsMeanwhile(RunLock):
        def __init__(self, path):
            super().__init__(path)
            if not (path / "config.json").exists():
                shutil.copytree(result.folder, path, dirs_exist_ok=True)

    monkeypatch.setattr("tats_gym.runs.lock.RunLock", AnotherEndsMeanwhile)
    run = begin_or_resume(folder, run_config(result.folder), Ranks.alone("cpu"))
    assert run.agent.num_timesteps == 32
    assert rows(folder)[-1]["step"] == 32
    run.close()


def test_scores_drawn_before_anything_is_learned_go_on_too(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, agent="sac", checkpoint_interval=4, keep_checkpoints=9)
    config = replace(config, tats=replace(config.tats, warmup_epochs=2))
    whole, result = train(config)
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
    config = tiny_config(clips_root, tmp_path, agent="tests.test_resuming:build_sac", action="scores")
    run, result = train(config)
    again = resume(result.folder)
    again.close()
    assert again.agent.log_ent_coef.item() == run.agent.log_ent_coef.item() != 0
    # Built without a seed, it still saw the clips of the run's.
    assert run.vector_env.clip_buffer.stream.seed == config.seed
    assert sum("mae/loss" in row for row in rows(result.folder)) <= 8


def test_going_on_from_an_older_checkpoint_logs_each_step_once(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path))
    latest_checkpoint(result.folder).unlink()  # as if the run had been killed before it was written
    again = resume(result.folder)
    assert again.agent.num_timesteps == 24
    again.run()
    again.close()
    logged = EventAccumulator(str(result.folder)).Reload().Scalars("mae/loss")
    assert [event.step for event in logged] == [4, 8, 12, 16, 20, 24, 28, 32]
    assert [row["step"] for row in rows(result.folder) if "mae/loss" in row] == [4, 8, 12, 16, 20, 24, 28, 32]


def test_a_longer_run_remembers_that_it_is(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path))
    config = run_config(result.folder)
    run = resume(result.folder, replace(config, mae_optim=replace(config.mae_optim, epochs=6)))
    run.close()
    assert run_config(result.folder).mae_optim.epochs == 6
    assert run.total_timesteps == 48


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file() and path.suffix != ".png"}


def test_giving_the_command_of_a_finished_run_again_changes_no_file(clips_root, tmp_path, caplog):
    config = tiny_config(clips_root, tmp_path)
    _, result = train(config)
    before = contents(result.folder)
    caplog.set_level(logging.INFO)
    for other in (config, replace(config, grid=replace(config.grid, visible=5))):
        run = begin_or_resume(result.folder, other, Ranks.alone("cpu"))
        again = run.run()
        run.close()
        assert again.finished
        assert contents(result.folder) == before
    assert again.metrics.overlap != result.metrics.overlap
    assert sum("has no step left to train after 32" in message for message in caplog.messages) == 2


def test_a_run_that_was_killed_before_its_last_measurement_makes_up_for_it(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path))
    metrics = result.folder / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    assert "held_out/gain" in lines[-1]
    metrics.write_text("".join(lines[:-1]))
    again = resume(result.folder)
    again.run()
    again.close()
    made_up = [{name: value for name, value in row.items() if "held_out" in name} for row in rows(result.folder)]
    assert made_up[-1] == {name: value for name, value in json.loads(lines[-1]).items() if "held_out" in name}
    assert len(made_up) == len(lines)


def test_saving_a_run_as_it_was_left_gives_the_same_checkpoint(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path))
    left = load_checkpoint(result.folder)
    again = resume(result.folder)
    again.save()
    again.close()
    assert differences(load_checkpoint(result.folder), left) == []
